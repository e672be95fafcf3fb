"""Constant product: Uniswap v2's formula with the fee layouts of raydium-amm and raydium-cp-swap."""

from fractions import Fraction
from math import ceil, floor


def constant_product_out(pool, a_to_b, amount_in):
    reserve_in, reserve_out = int(pool["reserve_a"]), int(pool["reserve_b"])
    if not a_to_b:
        reserve_in, reserve_out = reserve_out, reserve_in
    rate = lambda fee: Fraction(fee["numerator"], fee["denominator"])
    on_input, on_output = rate(pool["fee"]), Fraction(0)
    creator = pool.get("creator_fee")
    if creator:
        taken_in = creator["on"] == "input" or (creator["on"] == "token_a") == a_to_b
        if taken_in:
            on_input += rate(creator["rate"])
        else:
            on_output = rate(creator["rate"])
    net = amount_in - ceil(amount_in * on_input)
    gross = floor(Fraction(net * reserve_out, reserve_in + net))
    return gross - ceil(gross * on_output)


def constant_product_pools(rng):
    for index in range(126):
        bits = rng.choice([30, 45, 60, 100])
        pool = {
            "kind": "constant_product",
            "reserve_a": str(rng.randrange(1 << (bits - 8), 1 << bits)),
            "reserve_b": str(rng.randrange(1 << (bits - 8), 1 << bits)),
            "fee": {"numerator": rng.choice([100, 2_500, 10_000]), "denominator": 1_000_000},
            "protocol_share": {"numerator": 0, "denominator": 1},
        }
        if index % 2:
            pool["creator_fee"] = {
                "rate": {"numerator": rng.choice([500, 1_000]), "denominator": 1_000_000},
                "on": rng.choice(["input", "token_a", "token_b"]),
            }
        yield pool, 0, min(int(pool["reserve_a"]), int(pool["reserve_b"]))


def constant_product_trade(pool, at, a_to_b, amount):
    return constant_product_out(pool, a_to_b, amount), None
