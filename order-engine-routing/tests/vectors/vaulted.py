"""DAMM v1: the steps of compute_quote in damm-v1-sdk."""

from common import Q64


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
    for _ in range(126):
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


def vaulted_trade(pool, at, a_to_b, amount):
    out = vaulted_out(pool, at, a_to_b, amount)
    return None if out is None else (out, None)
