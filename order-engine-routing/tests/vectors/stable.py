"""Stable swap: the invariant of Curve's whitepaper, solved by bisection, and Curve's own iteration beside it, which the
venues run."""

from fractions import Fraction
from math import ceil

from common import least


def stable_scaled(pool, a_to_b):
    decimals = [pool["decimals_a"], pool["decimals_b"]]
    rates = [10 ** (max(decimals) - d) for d in decimals]
    coins = [int(pool["reserve_a"]) * rates[0], int(pool["reserve_b"]) * rates[1]]
    return (coins, rates) if a_to_b else (coins[::-1], rates[::-1])


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
    for _ in range(126):
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


def stable_trade(pool, at, a_to_b, amount):
    return stable_out(pool, a_to_b, amount, exactly), None


def stable_newton(pool, at, a_to_b, amount):
    return stable_out(pool, a_to_b, amount, by_newton)
