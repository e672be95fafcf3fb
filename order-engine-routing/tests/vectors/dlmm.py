"""DLMM: the bins of Meteora's documentation and dlmm-sdk, after Trader Joe's Liquidity Book."""

import copy
from decimal import Decimal, getcontext
from fractions import Fraction
from math import ceil, floor

from common import Q64, U128

getcontext().prec = 80


def bin_price(bin_id, step_bps):
    """Squares and multiplies in Q64.64 on a base below one, as u64x64_math does."""
    if bin_id == 0:
        return Q64
    most = U128
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


def fill(layers, price, net):
    """Returns what is used of a net input, and what each layer of a bin pays: get_exact_in_fill_amount_result."""
    used, paid = 0, []
    for holds in layers:
        most = ceil(holds / price)
        taken, given = (most, holds) if net - used >= most else (net - used, floor((net - used) * price))
        used, paid = used + taken, paid + [(taken, given)]
    return used, paid


def dlmm_trade(pool, at, a_to_b, amount):
    """quote_exact_in of dlmm-sdk. Returns None if the trade passes the last known bin."""
    pool = copy.deepcopy(pool)
    fees, volatility, step_bps = pool["fees"], pool["volatility"], pool["bin_step_bps"]
    elapsed = max(at - volatility["last_update"], 0)
    if elapsed >= fees["filter_period_s"]:
        decayed = volatility["accumulator"] * fees["reduction_factor_bps"] // 10_000
        volatility["index_reference"] = pool["active_id"]
        volatility["reference"] = decayed if elapsed < fees["decay_period_s"] else 0
    volatility["last_update"] = max(at, volatility["last_update"])
    bins = {b["id"]: b for b in pool["bins"]}
    orders = {o["id"]: o for o in pool.get("limit_orders", [])}
    known, active = set(bins) | set(orders), pool["active_id"]
    on_input = pool.get("fee_on", "input") == "input" or not a_to_b
    rest, out, into, held = amount, 0, ("reserve_a", "reserve_b")[:: 1 if a_to_b else -1], None
    while rest > 0:
        if not min(known) <= active <= max(known):
            return None
        here, resting = bins.get(active), orders.get(active)
        matches = resting and resting["is_ask"] != a_to_b
        layers = [int(here[into[1]]) if here else 0]
        layers += [int(resting["processed"]), int(resting["open"])] if matches else [0, 0]
        if sum(layers):
            moved = volatility["reference"] + abs(volatility["index_reference"] - active) * 10_000
            volatility["accumulator"] = min(moved, fees["max_volatility_accumulator"])
            base = fees["base_factor"] * step_bps * 10 * 10 ** fees["base_fee_power_factor"]
            variable = ceil(Fraction(fees["variable_fee_control"] * (volatility["accumulator"] * step_bps) ** 2, 10**11))
            rate = min(base + variable, 10**8)
            price = Fraction(bin_price(active, step_bps), Q64)
            price = price if a_to_b else 1 / price
            net = rest - ceil(Fraction(rest * rate, 10**9)) if on_input else rest
            used, paid = fill(layers, price, net)
            given, taken = sum(given for _, given in paid), rest
            if used < net:
                taken = used + (ceil(Fraction(used * rate, 10**9 - rate)) if on_input else 0)
            if here:
                here[into[0]] = str(int(here[into[0]]) + paid[0][0])
                here[into[1]] = str(layers[0] - paid[0][1])
            if matches:
                # What is left of orders of which some were filled has been processed.
                left = [layers[1] - paid[1][1], layers[2] - paid[2][1]]
                left = left if paid[2][1] == 0 else [left[1], 0]
                resting |= {"processed": str(left[0]), "open": str(left[1])}
            given -= 0 if on_input else ceil(Fraction(given * rate, 10**9))
            rest, out, pool["active_id"] = rest - taken, out + given, active
        active += -1 if a_to_b else 1
    return out, pool


def bin_orders(rng, bin_id, active):
    amount = lambda: str(rng.choice([0, rng.randrange(1, 1 << rng.choice([20, 40, 50]))]))
    is_ask = bin_id > active or (bin_id == active and rng.random() < 0.5)
    return {"id": bin_id, "is_ask": is_ask, "open": amount(), "processed": amount()}


def dlmm_pools(rng):
    for index in range(126):
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
        if index % 3:
            pool["fee_on"] = rng.choice(["input", "token_b"])
        if index % 4 > 1:
            pool["limit_orders"] = [bin_orders(rng, i, active) for i in sorted(rng.sample(ids, rng.randrange(1, 6)))]
        yield pool, 1_700_000_000 + rng.choice([0, 29, 30, 599, 600]), 1 << 50
