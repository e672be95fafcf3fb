#!/usr/bin/env python3
"""Writes the golden vectors beside this file: quotes of an independent implementation.

It follows the published formulas with Python's integers and fractions, step by step as the programs
do, and shares nothing with the crate. Exact-out is found by bisection over exact-in, so it is the least
input by construction. With names of curves as arguments it writes only theirs; its output never changes.
"""

import sys

from common import Vectors
from constant_product import constant_product_pools, constant_product_trade
from damm import damm_pools, damm_trade, limited_pools
from dlmm import dlmm_pools, dlmm_trade
from pump_swap import pump_pools, pump_trade, pump_venue
from stable import stable_newton, stable_pools, stable_trade
from ticks import concentrated_pools, raydium_trade, whirlpool_pools, whirlpool_trade
from uniswap import v2_pools, v2_trade, v3_pools, v3_trade
from vaulted import vaulted_pools, vaulted_trade

ALL = [
    (
        Vectors(
            "constant_product",
            "Uniswap v2 and the fee layouts of raydium-amm and raydium-cp-swap",
            constant_product_trade,
            has_second=False,
        ),
        constant_product_pools,
    ),
    # The rounding of shares may make the output of a larger input smaller by a unit, so that there is no least input.
    (
        Vectors(
            "vaulted",
            "compute_quote of Meteora's damm-v1-sdk",
            vaulted_trade,
            has_exact_out=False,
            has_second=False,
        ),
        vaulted_pools,
    ),
    (
        Vectors(
            "concentrated", "the Uniswap v3 whitepaper and swap_internal of raydium-clmm", raydium_trade
        ),
        concentrated_pools,
    ),
    (
        Vectors("whirlpool", "swap and FeeRateManager of Orca's whirlpools", whirlpool_trade),
        whirlpool_pools,
    ),
    (Vectors("dlmm", "quote_exact_in of Meteora's dlmm-sdk", dlmm_trade), dlmm_pools),
    (Vectors("damm_v2", "get_swap_result_from_exact_input of Meteora's damm-v2", damm_trade), damm_pools),
    # The rounding of the rate may make the output of a larger input smaller, so that there is no least input.
    (
        Vectors("damm_v2_limited", "FeeRateLimiter of Meteora's damm-v2", damm_trade, has_exact_out=False),
        limited_pools,
    ),
    # The last entry of a row is what Pump's own software expects.
    (
        Vectors("pump_swap", "Pump's documents and pump-swap-sdk 1.20", pump_trade, more=pump_venue),
        pump_pools,
    ),
    (Vectors("uniswap_v2", "getAmountOut of UniswapV2Library", v2_trade), v2_pools),
    (Vectors("uniswap_v3", "the Uniswap v3 whitepaper and swap of UniswapV3Pool", v3_trade), v3_pools),
    # The last entry of a row is the output of Curve's own iteration.
    (
        Vectors(
            "stable",
            "Curve's whitepaper on stable swaps, and Curve's own iteration",
            stable_trade,
            has_second=False,
            more=stable_newton,
        ),
        stable_pools,
    ),
]


def main():
    for vectors, pools in ALL:
        if vectors.name in sys.argv[1:] or not sys.argv[1:]:
            vectors.write(pools)


if __name__ == "__main__":
    main()
