#!/usr/bin/env python3
"""Writes the golden vectors beside this file: quotes of an independent implementation.

It follows the published formulas with Python's integers and fractions, step by step as the programs
do, and shares nothing with the crate. Exact-out is found by bisection over exact-in, so it is the least
input by construction. Run it without arguments; its output never changes.
"""

import json
import random
from decimal import Decimal, getcontext
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

HERE = Path(__file__).parent
Q64 = 1 << 64
getcontext().prec = 80


# Constant product: Uniswap v2's formula with the fee layouts of raydium-amm and raydium-cp-swap.

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
    for index in range(40):
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


# DAMM v1: the steps of compute_quote in damm-v1-sdk.

def unlocked(vault, at):
    released = min((at - vault["last_report"]) * vault["degradation"], 10**12)
    return int(vault["total"]) - int(vault["locked_profit"]) * (10**12 - released) // 10**12


def vaulted_out(pool, at, a_to_b, amount_in):
    vault_in, vault_out = (pool["vault_a"], pool["vault_b"])[:: 1 if a_to_b else -1]
    fee_of = lambda amount, fee: max(amount * fee["numerator"] // fee["denominator"], 1) if amount and fee["numerator"] else 0
    unlocked_in, unlocked_out = unlocked(vault_in, at), unlocked(vault_out, at)
    supply_in, supply_out = int(vault_in["supply"]), int(vault_out["supply"])
    reserve_in = int(vault_in["owned"]) * unlocked_in // supply_in
    reserve_out = int(vault_out["owned"]) * unlocked_out // supply_out
    fee = fee_of(amount_in, pool["fee"])
    protocol_fee = fee_of(fee, pool["protocol_share"])
    deposited = amount_in - protocol_fee
    if deposited < 0 or deposited + int(vault_in["total"]) >= Q64:
        return None
    shares_in = deposited * supply_in // unlocked_in
    worth = (int(vault_in["owned"]) + shares_in) * (unlocked_in + deposited) // (supply_in + shares_in)
    net = worth - reserve_in - (fee - protocol_fee)
    if net < 0:
        return None
    given = reserve_out - -(-reserve_in * reserve_out // (reserve_in + net))
    out = given * supply_out // unlocked_out * unlocked_out // supply_out
    return out if out < int(vault_out["in_hand"]) else None


def vaulted_pools(rng):
    at = 1_700_000_000
    for _ in range(334):
        def vault():
            total = rng.randrange(1 << 30, 1 << rng.choice([36, 45, 55]))
            supply = int(total * rng.uniform(0.7, 1.0))
            return {
                "total": str(total),
                "supply": str(supply),
                "owned": str(max(int(supply * rng.choice([0.001, 0.1, 0.9])), 1)),
                "in_hand": str(int(total * rng.choice([0.2, 0.5, 1.0]))),
                "locked_profit": str(rng.choice([0, rng.randrange(total >> 10)])),
                "last_report": at - rng.choice([0, 60, 3_600, 90_000]),
                "degradation": rng.choice([0, 11_574_074, 46_296_296]),
            }
        pool = {
            "kind": "vaulted",
            "vault_a": vault(),
            "vault_b": vault(),
            "fee": {"numerator": rng.choice([100, 250, 1_000, 6_000]), "denominator": 100_000},
            "protocol_share": {"numerator": rng.choice([0, 20_000]), "denominator": 100_000},
        }
        yield pool, at, 1 << 50


# Concentrated liquidity: the steps of raydium-clmm, after the Uniswap v3 whitepaper.

FACTORS = [
    0xFFFCB933BD6FB800, 0xFFF97272373D4000, 0xFFF2E50F5F657000, 0xFFE5CACA7E10F000, 0xFFCB9843D60F7000,
    0xFF973B41FA98E800, 0xFF2EA16466C9B000, 0xFE5DEE046A9A3800, 0xFCBE86C7900BB000, 0xF987A7253AC65800,
    0xF3392B0822BB6000, 0xE7159475A2CAF000, 0xD097F3BDFD2F2000, 0xA9F746462D9F8000, 0x70D869A156F31C00,
    0x31BE135F97ED3200, 0x9AA508B5B85A500, 0x5D6AF8DEDC582C, 0x2216E584F5FA,
]


def sqrt_price(tick):
    ratio = Q64
    for bit, factor in enumerate(FACTORS):
        if abs(tick) >> bit & 1:
            ratio = ratio * factor >> 64
    ratio = ((1 << 128) - 1) // ratio if tick > 0 else ratio
    real = (Decimal(10_001) / Decimal(10_000)) ** (Decimal(tick) / 2) * Q64
    assert abs(ratio - real) <= 2 + real / Decimal(1 << 30), tick
    return ratio


def step(price, target, liquidity, rest, fee_ppm, a_to_b):
    """Returns the next price, the input with its fee, and the output: compute_swap_step, exact in."""
    low, high = min(price, target), max(price, target)
    delta_a = lambda low, high: Fraction(liquidity * Q64 * (high - low), low * high)
    delta_b = lambda low, high: Fraction(liquidity * (high - low), Q64)
    delta_in, delta_out = (delta_a, delta_b) if a_to_b else (delta_b, delta_a)
    net = rest * (1_000_000 - fee_ppm) // 1_000_000
    needed = ceil(delta_in(low, high))
    if net >= needed:
        fee = ceil(Fraction(needed * fee_ppm, 1_000_000 - fee_ppm))
        return target, needed + fee, floor(delta_out(low, high))
    if a_to_b:
        reached = ceil(Fraction(liquidity * Q64 * price, liquidity * Q64 + net * price))
    else:
        reached = price + net * Q64 // liquidity
    return reached, rest, floor(delta_out(min(price, reached), max(price, reached)))


def concentrated_out(pool, a_to_b, amount_in):
    """Returns the output, or None if the trade passes the last known tick."""
    price, tick, liquidity = int(pool["sqrt_price_x64"]), pool["tick_current"], int(pool["liquidity"])
    rest, out = amount_in, 0
    while rest > 0:
        ahead = [t for t in pool["ticks"] if (t["index"] <= tick if a_to_b else t["index"] > tick)]
        if not ahead:
            return None
        boundary = ahead[-1] if a_to_b else ahead[0]
        target = sqrt_price(boundary["index"])
        price, taken, given = step(price, target, liquidity, rest, pool["fee_ppm"], a_to_b)
        rest, out = rest - taken, out + given
        if price == target:
            liquidity += -int(boundary["liquidity_net"]) if a_to_b else int(boundary["liquidity_net"])
            tick = boundary["index"] - 1 if a_to_b else boundary["index"]
    return out


def concentrated_pools(rng):
    for _ in range(40):
        spacing = rng.choice([1, 10, 60])
        tick = rng.choice([rng.randrange(-20_000, 20_000), rng.randrange(-200_000, 200_000)])
        center, nets, liquidity = tick // spacing, {}, 0
        for _ in range(rng.randrange(1, 7)):
            lower = (center + rng.randrange(-60, 40)) * spacing
            upper = lower + rng.randrange(1, 100) * spacing
            provided = rng.randrange(1 << 30, 1 << rng.choice([40, 60, 70]))
            nets[lower] = nets.get(lower, 0) + provided
            nets[upper] = nets.get(upper, 0) - provided
            liquidity += provided if lower <= tick < upper else 0
        pool = {
            "kind": "concentrated",
            "sqrt_price_x64": str(rng.randrange(sqrt_price(tick), sqrt_price(tick + 1) + 1)),
            "tick_current": tick,
            "tick_spacing": spacing,
            "liquidity": str(liquidity),
            "fee_ppm": rng.choice([100, 500, 2_500, 10_000]),
            "ticks": [{"index": i, "liquidity_net": str(net)} for i, net in sorted(nets.items())],
        }
        yield pool, 0, 1 << 70


# DLMM: the bins of Meteora's documentation and dlmm-sdk, after Trader Joe's Liquidity Book.

def bin_price(bin_id, step_bps):
    """Squares and multiplies in Q64.64 on a base below one, as u64x64_math does."""
    if bin_id == 0:
        return Q64
    most = (1 << 128) - 1
    square, power, exponent = most // (Q64 + (step_bps << 64) // 10_000), Q64, abs(bin_id)
    while exponent:
        if exponent & 1:
            power = power * square >> 64
        square = square * square >> 64
        exponent >>= 1
    price = most // power if bin_id > 0 else power
    real = (1 + Decimal(step_bps) / 10_000) ** bin_id * Q64
    assert abs(price - real) <= 2 + real / Decimal(1 << 30), bin_id
    return price


def dlmm_out(pool, at, a_to_b, amount_in):
    """Returns the output, or None if the trade passes the last known bin."""
    fees, volatility, step_bps = pool["fees"], pool["volatility"], pool["bin_step_bps"]
    active, reference, origin = pool["active_id"], volatility["reference"], volatility["index_reference"]
    elapsed = max(at - volatility["last_update"], 0)
    if elapsed >= fees["filter_period_s"]:
        origin = active
        decayed = volatility["accumulator"] * fees["reduction_factor_bps"] // 10_000
        reference = decayed if elapsed < fees["decay_period_s"] else 0
    bins = {b["id"]: b for b in pool["bins"]}
    rest, out = amount_in, 0
    while rest > 0:
        if not min(bins) <= active <= max(bins):
            return None
        moved = min(reference + abs(origin - active) * 10_000, fees["max_volatility_accumulator"])
        base = fees["base_factor"] * step_bps * 10 * 10 ** fees["base_fee_power_factor"]
        variable = ceil(Fraction(fees["variable_fee_control"] * (moved * step_bps) ** 2, 10**11))
        rate = min(base + variable, 10**8)
        here = bins.get(active)
        holds = int(here["reserve_b" if a_to_b else "reserve_a"]) if here else 0
        if holds:
            price = Fraction(bin_price(active, step_bps), Q64)
            price = price if a_to_b else 1 / price
            most = ceil(holds / price)
            most += ceil(Fraction(most * rate, 10**9 - rate))
            if rest > most:
                taken, given = most, holds
            else:
                net = rest - ceil(Fraction(rest * rate, 10**9))
                taken, given = rest, min(floor(net * price), holds)
            rest, out = rest - taken, out + given
        active += -1 if a_to_b else 1
    return out


def dlmm_pools(rng):
    for _ in range(40):
        step_bps, active = rng.choice([1, 10, 25, 100]), rng.randrange(-800, 800)
        reserve = lambda: str(rng.choice([0, rng.randrange(1, 1 << rng.choice([20, 40, 50]))]))
        ids = sorted(rng.sample(range(active - 20, active + 21), 11) + [active - 21, active + 21])
        bins = [
            {"id": i, "reserve_a": reserve() if i >= active else "0", "reserve_b": reserve() if i <= active else "0"}
            for i in ids
        ]
        pool = {
            "kind": "dlmm",
            "active_id": active,
            "bin_step_bps": step_bps,
            "fees": {
                "base_factor": rng.choice([1_000, 5_000, 10_000]),
                "base_fee_power_factor": rng.choice([0, 0, 1]),
                "variable_fee_control": rng.choice([0, 7_500, 40_000]),
                "filter_period_s": 30,
                "decay_period_s": 600,
                "reduction_factor_bps": 5_000,
                "max_volatility_accumulator": 350_000,
            },
            "volatility": {
                "accumulator": rng.randrange(350_000),
                "reference": rng.randrange(100_000),
                "index_reference": active + rng.randrange(-9, 10),
                "last_update": 1_700_000_000,
            },
            "bins": bins,
        }
        yield pool, 1_700_000_000 + rng.choice([0, 29, 30, 599, 600]), 1 << 50


# Stable swap: the invariant of Curve's whitepaper, solved by bisection, and Curve's own iteration beside
# it, which the venues run.

def stable_scaled(pool, a_to_b):
    decimals = [pool["decimals_a"], pool["decimals_b"]]
    rates = [10 ** (max(decimals) - d) for d in decimals]
    coins = [int(pool["reserve_a"]) * rates[0], int(pool["reserve_b"]) * rates[1]]
    return (coins, rates) if a_to_b else (coins[::-1], rates[::-1])


def least(holds, high):
    """Returns the least integer for which a condition holds that holds for all larger ones."""
    low = 0
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def stable_out(pool, a_to_b, amount_in, solve):
    (x, y), (rate_in, rate_out) = stable_scaled(pool, a_to_b)
    gross = y - solve(x, y, x + amount_in * rate_in, 2 * pool["amplification"]) - 1
    fee = ceil(gross * Fraction(pool["fee"]["numerator"], pool["fee"]["denominator"]))
    return (gross - fee) // rate_out


def exactly(x, y, grown, ann):
    keeps = lambda x, y, d: 4 * x * y * (ann * (x + y) + d) >= 4 * x * y * ann * d + d**3
    above = least(lambda d: not keeps(x, y, d), x + y + 1)
    return least(lambda left: keeps(grown, left, above), y * 2 + 2)


def by_newton(x, y, grown, ann):
    d = total = x + y
    for _ in range(255):
        power = d * d // (2 * x) * d // (2 * y)
        before, d = d, (ann * total + 2 * power) * d // ((ann - 1) * d + 3 * power)
        if abs(d - before) <= 1:
            break
    c, b, left = d * d // (2 * grown) * d // (2 * ann), grown + d // ann, d
    for _ in range(255):
        before, left = left, (left * left + c) // (2 * left + b - d)
        if abs(left - before) <= 1:
            break
    return left


def stable_pools(rng):
    for _ in range(40):
        decimals = rng.choice([(6, 6), (9, 9), (6, 9), (9, 6)])
        units, skew = rng.randrange(10**3, 10**8), rng.choice([1, 3, 30])
        other = max(int(units * skew ** rng.uniform(-1, 1)), 1)
        pool = {
            "kind": "stable",
            "reserve_a": str(units * 10 ** decimals[0] + rng.randrange(10**6)),
            "reserve_b": str(other * 10 ** decimals[1] + rng.randrange(10**6)),
            "decimals_a": decimals[0],
            "decimals_b": decimals[1],
            "amplification": rng.choice([1, 10, 85, 100, 500, 2_000]),
            "fee": {"numerator": rng.choice([0, 1, 4, 30]), "denominator": 10_000},
            "protocol_share": {"numerator": 0, "denominator": 1},
        }
        yield pool, 0, min(int(pool["reserve_a"]), int(pool["reserve_b"]))


# The output.

def case(rng, pool, at, most, quote, has_exact_out=True):
    a_to_b = rng.random() < 0.5
    while most > 1 and quote(pool, at, a_to_b, most) is None:
        most >>= 1
    amount_in = rng.randrange(1, max(most * 5 // 4 >> rng.choice([0, 0, 1, 3, 8, 20]), 2))
    out = quote(pool, at, a_to_b, amount_in)
    # A quote without an output, or beyond the liquidity, is refused and written as null.
    result = {"curve": pool, "direction": "a_to_b" if a_to_b else "b_to_a", "at": at}
    result |= {"amount_in": str(amount_in), "amount_out": str(out) if out else None}
    if out and has_exact_out:
        wanted = rng.randrange(1, out + 1)
        suffices = lambda amount: (quote(pool, at, a_to_b, amount) or 0) >= wanted
        result["exact_out"] = {"amount_out": str(wanted), "amount_in": str(least(suffices, amount_in))}
    return result


def write(name, source, pools, quote, more=None, has_exact_out=True):
    rng = random.Random(name)
    cases = []
    for pool, at, most in pools(rng):
        for _ in range(3):
            made = case(rng, pool, at, most, quote, has_exact_out)
            if more and made["amount_out"]:
                made |= more(made)
            cases.append(made)
    quoted = sum(1 for made in cases if made["amount_out"])
    assert quoted * 2 > len(cases), f"{name}: only {quoted} of {len(cases)} quotes succeed"
    lines = ",\n".join(json.dumps(made, separators=(",", ":")) for made in cases)
    path = HERE / f"{name}.json"
    path.write_text(f'{{"source":{json.dumps(source)},\n"cases":[\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{path.name}: {len(cases)} cases, {quoted} of them quoted")


def main():
    write(
        "constant_product",
        "tests/vectors/generate.py, after Uniswap v2 and the fee layouts of raydium-amm and raydium-cp-swap",
        constant_product_pools,
        lambda pool, at, a_to_b, amount: constant_product_out(pool, a_to_b, amount),
    )
    # The rounding of shares may make the output of a larger input smaller by a unit, so that there is no least input.
    write(
        "vaulted",
        "tests/vectors/generate.py, after compute_quote of Meteora's damm-v1-sdk",
        vaulted_pools,
        vaulted_out,
        has_exact_out=False,
    )
    write(
        "concentrated",
        "tests/vectors/generate.py, after the Uniswap v3 whitepaper and compute_swap_step of raydium-clmm",
        concentrated_pools,
        lambda pool, at, a_to_b, amount: concentrated_out(pool, a_to_b, amount),
    )
    write(
        "dlmm",
        "tests/vectors/generate.py, after Meteora's DLMM documentation and dlmm-sdk",
        dlmm_pools,
        dlmm_out,
    )
    newton = lambda made: {
        "newton_out": str(
            stable_out(made["curve"], made["direction"] == "a_to_b", int(made["amount_in"]), by_newton)
        )
    }
    write(
        "stable",
        "tests/vectors/generate.py, after Curve's whitepaper on stable swaps; newton_out is Curve's own iteration",
        stable_pools,
        lambda pool, at, a_to_b, amount: stable_out(pool, a_to_b, amount, exactly),
        newton,
    )


if __name__ == "__main__":
    main()
