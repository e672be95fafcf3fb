"""PumpSwap: the sale and the purchase of Pump's documents and pump-swap-sdk, and the least that both may pay."""

import copy
from fractions import Fraction
from math import ceil, floor

AT = 1_700_000_000


def fees_of(pool):
    priced = int(pool["reserve_b"]) + int(pool["virtual_b"])
    cap = priced * int(pool["supply_a"]) // int(pool["reserve_a"])
    reached = [tier for tier in pool["tiers"] if int(tier["market_cap"]) <= cap]
    fees = (reached or pool["tiers"][:1])[-1]["fees"]
    return [fees["lp_bps"], fees["protocol_bps"], fees["creator_bps"]], priced


def fee(amount, bps):
    return ceil(Fraction(amount * bps, 10_000))


def pump_venue(pool, at, a_to_b, amount):
    """sellBaseInput and buyQuoteInput of pump-swap-sdk."""
    rates, priced = fees_of(pool)
    base = int(pool["reserve_a"])
    if a_to_b:
        gross = priced * amount // (base + amount)
        return gross - sum(fee(gross, bps) for bps in rates)
    net = amount * 10_000 // (10_000 + sum(rates))
    net -= max(net + sum(fee(net, bps) for bps in rates) - amount, 0)
    return base * (net - 1) // (priced + net - 1)


def pump_trade(pool, at, a_to_b, amount):
    """The least that a trade may pay, however its fees are rounded, and so the most that can be promised."""
    pool = copy.deepcopy(pool)
    rates, priced = fees_of(pool)
    base, quote = int(pool["reserve_a"]), int(pool["reserve_b"])
    slack = max(sum(1 for bps in rates if bps) - 1, 0)
    if a_to_b:
        gross = floor(Fraction(priced * amount, base + amount))
        leaving = gross - fee(gross, rates[0])
        if leaving >= quote:
            return None
        out = floor(gross * Fraction(10_000 - sum(rates), 10_000)) - slack
        pool |= {"reserve_a": str(base + amount), "reserve_b": str(quote - leaving)}
    else:
        net = max(floor(amount * Fraction(10_000, 10_000 + sum(rates))) - slack, 0)
        out = floor(Fraction(base * max(net - 1, 0), priced + max(net - 1, 0)))
        pool |= {"reserve_a": str(base - out), "reserve_b": str(quote + net + fee(net, rates[0]))}
    if out > 0:
        assert out <= pump_venue_checked(pool, rates, priced, base, a_to_b, amount), "no quote promises too much"
    return out, pool


def pump_venue_checked(after, rates, priced, base, a_to_b, amount):
    before = {"reserve_a": str(base), "reserve_b": str(priced), "virtual_b": "0", "supply_a": "1"}
    tier = {"market_cap": "0", "fees": dict(zip(("lp_bps", "protocol_bps", "creator_bps"), rates))}
    return pump_venue(before | {"tiers": [tier]}, AT, a_to_b, amount)


def pump_pools(rng):
    for index in range(126):
        tier = lambda cap, *rates: {"market_cap": str(cap), "fees": dict(zip(("lp_bps", "protocol_bps", "creator_bps"), rates))}
        tiers = [tier(0, 20, 5, rng.choice([0, 5]))]
        reserve_b = rng.randrange(1 << 33, 1 << rng.choice([38, 46]))
        if index % 3:
            tiers = [tier(420 * 10**9, 2, 93, 30), tier(1_470 * 10**9, 20, 5, 95), tier(9_820 * 10**9, 20, 5, 70)]
            tiers += [tier(98_240 * 10**9, 20, 5, 5)]
        yield {
            "kind": "pump_swap",
            "reserve_a": str(rng.randrange(1 << 44, 1 << rng.choice([48, 54]))),
            "reserve_b": str(reserve_b),
            "virtual_b": str(rng.choice([0, 0, reserve_b // 2, 3 * reserve_b, -reserve_b // 4])),
            "supply_a": str(10**15),
            "tiers": tiers,
        }, AT, 1 << 50
