"""DAMM v2: get_swap_result_from_exact_input of Meteora's damm-v2, with its fees."""

import copy
from fractions import Fraction
from math import ceil, floor, isqrt

from common import Q64

AT = 1_700_000_000
ONE = 10**9
Q128 = 1 << 128


def power(base, exponent):
    """pow of fee_math, on a base below one."""
    square, result = base, Q64
    while exponent:
        if exponent & 1:
            result = result * square >> 64
        square = square * square >> 64
        exponent >>= 1
    return result


def reduced(cliff, reduction, periods):
    if "linear" in reduction:
        return cliff - reduction["linear"] * periods
    bps = reduction["exponential"]
    return cliff if bps == 0 else power(Q64 - (bps << 64) // 10_000, periods) * cliff >> 64


def base_rate(pool, at, a_to_b, amount):
    (mode, fee), elapsed = next(iter(pool["base_fee"].items())), at - pool["activated_at"]
    assert elapsed >= 0
    if mode == "fixed":
        return fee["rate"]
    cliff = fee["cliff_rate"]
    if mode == "time_scheduler":
        return reduced(cliff, fee["reduction"], min(elapsed // fee["period_s"], fee["periods"]))
    if mode == "market_cap_scheduler":
        first, steps = int(fee["initial_sqrt_price_x64"]), 0
        if sqrt_price(pool) > first:
            steps = (sqrt_price(pool) - first) * 10_000 // first // fee["sqrt_price_step_bps"]
        expired = elapsed > fee["expires_after_s"]
        return reduced(cliff, fee["reduction"], fee["periods"] if expired else min(steps, fee["periods"]))
    part = fee["reference_amount"]
    if a_to_b or elapsed > fee["duration_s"] or amount <= part:
        return cliff
    # Each part of the amount pays a higher rate, up to the highest.
    most, rise = fee["max_fee_bps"] * 100_000, fee["increment_bps"] * 100_000
    last = (most - cliff) // rise
    full = min((amount - part) // part, last)
    total = part * (cliff * (1 + full) + rise * full * (full + 1) // 2)
    total += (amount - part - full * part) * (cliff + rise * (full + 1) if full < last else most)
    return ceil(Fraction(ceil(Fraction(total, ONE)) * ONE, amount))


def sqrt_price(pool):
    held = pool["liquidity"]
    if "range" in held:
        return int(held["range"]["sqrt_price_x64"])
    return isqrt((int(held["compounding"]["reserve_b"]) << 128) // int(held["compounding"]["reserve_a"]))


def steps_between(fee, one, other):
    return ((max(one, other) << 64) // min(one, other) - Q64) // ((fee["bin_step_bps"] << 64) // 10_000) * 2


def damm_trade(pool, at, a_to_b, amount):
    pool = copy.deepcopy(pool)
    fee, old_price = pool.get("dynamic_fee"), sqrt_price(pool)
    rate = base_rate(pool, at, a_to_b, amount)
    if fee:
        moved = fee["volatility"]["accumulator"] * fee["bin_step_bps"]
        rate += ceil(Fraction(moved**2 * fee["variable_fee_control"], 10**11))
    rate = min(rate, pool["max_fee_rate"])
    on_input = pool["fee_on"] == "token_b" and not a_to_b
    taken = ceil(Fraction(amount * rate, ONE)) if on_input else 0
    net = amount - taken
    held = pool["liquidity"].get("range")
    if held:
        price, liquidity = int(held["sqrt_price_x64"]), int(held["liquidity_x64"])
        if a_to_b:
            reached = ceil(Fraction(liquidity * price, liquidity + net * price))
            given = floor(Fraction(liquidity * (price - reached), Q128))
        else:
            reached = price + floor(Fraction(net * Q128, liquidity))
            given = floor(Fraction(liquidity * (reached - price), reached * price))
        if not int(held["sqrt_min_price_x64"]) <= reached <= int(held["sqrt_max_price_x64"]):
            return None
        held["sqrt_price_x64"] = str(reached)
    else:
        held = pool["liquidity"]["compounding"]
        names = ("reserve_a", "reserve_b")[:: 1 if a_to_b else -1]
        into, out_of = int(held[names[0]]), int(held[names[1]])
        given = floor(Fraction(out_of * net, into + net))
        held |= {names[0]: str(into + net), names[1]: str(out_of - given)}
    out = given
    if not on_input:
        taken = ceil(Fraction(given * rate, ONE))
        out -= taken
    if "compounding" in pool["liquidity"]:
        trading = taken - taken * held["protocol_fee_percent"] // 100
        held["reserve_b"] = str(int(held["reserve_b"]) + trading * held["compounding_fee_bps"] // 10_000)
    if fee:
        volatility, elapsed = fee["volatility"], max(at - fee["volatility"]["last_update"], 0)
        if elapsed >= fee["filter_period_s"]:
            decayed = volatility["accumulator"] * fee["reduction_factor_bps"] // 10_000
            volatility["reference"] = decayed if elapsed < fee["decay_period_s"] else 0
            volatility["sqrt_price_reference_x64"] = str(old_price)
        moved = steps_between(fee, sqrt_price(pool), int(volatility["sqrt_price_reference_x64"])) * 10_000
        volatility["accumulator"] = min(volatility["reference"] + moved, fee["max_volatility_accumulator"])
        if steps_between(fee, old_price, sqrt_price(pool)):
            volatility["last_update"] = at
    return out, pool


def base_fee(rng, price, on_b):
    cliff, periods = rng.choice([2_500_000, 10_000_000, 500_000_000]), rng.choice([10, 120])
    linear = {"linear": cliff * 9 // 10 // periods}
    reduction = rng.choice([linear, {"exponential": rng.choice([50, 300])}])
    modes = [
        {"fixed": {"rate": cliff}},
        {"time_scheduler": {"cliff_rate": cliff, "periods": periods, "period_s": rng.choice([1, 60]), "reduction": reduction}},
        {
            "market_cap_scheduler": {
                "cliff_rate": cliff,
                "periods": periods,
                "sqrt_price_step_bps": rng.choice([10, 200]),
                "expires_after_s": 3_600,
                "initial_sqrt_price_x64": str(price * rng.choice([80, 100, 120]) // 100),
                "reduction": reduction,
            }
        },
    ]
    return rng.choice(modes)


def damm_pools(rng, limited=False):
    for index in range(132):
        on_b = limited or rng.random() < 0.5
        price = floor(Fraction(Q64) * Fraction(rng.randrange(10**4, 10**8), 10**6))
        if index % 4 == 3 and not limited:
            on_b = True
            reserves = {side: str(rng.randrange(1 << 30, 1 << rng.choice([36, 50]))) for side in ("reserve_a", "reserve_b")}
            shares = {"protocol_fee_percent": 20, "compounding_fee_bps": rng.choice([0, 5_000, 10_000])}
            liquidity = {"compounding": reserves | shares}
        else:
            bounds = (4_295_048_016, 79_226_673_521_066_979_257_578_248_091)
            if rng.random() < 0.5:
                bounds = (price * rng.choice([5, 9]) // 10, price * rng.choice([11, 30]) // 10)
            liquidity = {
                "range": {
                    "sqrt_price_x64": str(price),
                    "sqrt_min_price_x64": str(bounds[0]),
                    "sqrt_max_price_x64": str(bounds[1]),
                    "liquidity_x64": str(rng.randrange(1 << 95, 1 << rng.choice([105, 120]))),
                }
            }
        pool = {"kind": "damm_v2", "liquidity": liquidity}
        pool["base_fee"] = base_fee(rng, sqrt_price(pool), on_b)
        if limited:
            cliff = rng.choice([2_500_000, 10_000_000])
            pool["base_fee"] = {
                "rate_limiter": {
                    "cliff_rate": cliff,
                    "increment_bps": rng.choice([10, 100]),
                    "max_fee_bps": rng.choice([500, 5_000, 9_900]),
                    "reference_amount": 1 << rng.choice([25, 35]),
                    "duration_s": 600,
                }
            }
        if index % 2:
            most = rng.choice([350_000, 14_460_000])
            pool["dynamic_fee"] = {
                "max_volatility_accumulator": most,
                "variable_fee_control": rng.choice([956, 40_000]),
                "bin_step_bps": rng.choice([1, 10]),
                "filter_period_s": 10,
                "decay_period_s": 120,
                "reduction_factor_bps": 5_000,
                "volatility": {
                    "last_update": AT - rng.choice([0, 9, 10, 119, 120]),
                    "sqrt_price_reference_x64": str(sqrt_price(pool) * rng.choice([99, 100, 101]) // 100),
                    "accumulator": rng.randrange(most // 4),
                    "reference": rng.randrange(most // 8),
                },
            }
        pool["fee_on"] = "token_b" if on_b else "output"
        pool["max_fee_rate"] = rng.choice([500_000_000, 990_000_000])
        pool["activated_at"] = AT - rng.choice([0, 90, 600, 3_601, 100_000])
        yield pool, AT, 1 << 55


def limited_pools(rng):
    return damm_pools(rng, limited=True)
