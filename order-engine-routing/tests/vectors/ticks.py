"""Concentrated liquidity: the loops of raydium-clmm and of Orca's whirlpools, after the Uniswap v3 whitepaper."""

import copy
from decimal import Decimal, getcontext
from fractions import Fraction
from math import ceil, floor

from common import Q64, U128

getcontext().prec = 80

RAYDIUM = [
    0xFFFCB933BD6FB800, 0xFFF97272373D4000, 0xFFF2E50F5F657000, 0xFFE5CACA7E10F000, 0xFFCB9843D60F7000,
    0xFF973B41FA98E800, 0xFF2EA16466C9B000, 0xFE5DEE046A9A3800, 0xFCBE86C7900BB000, 0xF987A7253AC65800,
    0xF3392B0822BB6000, 0xE7159475A2CAF000, 0xD097F3BDFD2F2000, 0xA9F746462D9F8000, 0x70D869A156F31C00,
    0x31BE135F97ED3200, 0x9AA508B5B85A500, 0x5D6AF8DEDC582C, 0x2216E584F5FA,
]
ORCA_FALLING = [
    0xFFFCB933BD6FAD37, 0xFFF97272373D4132, 0xFFF2E50F5F656932, 0xFFE5CACA7E10E4E6,
    0xFFCB9843D60F6159, 0xFF973B41FA98C081, 0xFF2EA16466C96A38, 0xFE5DEE046A99A2A8,
    0xFCBE86C7900A88AE, 0xF987A7253AC41317, 0xF3392B0822B70005, 0xE7159475A2C29B74,
    0xD097F3BDFD2022B8, 0xA9F746462D870FDF, 0x70D869A156D2A1B8, 0x31BE135F97D08FD9,
    0x9AA508B5B7A84E1, 0x5D6AF8DEDB8119, 0x2216E584F5FA,
]
ORCA_RISING = [
    0x1000346D6FF11672AE55AD00F, 0x100068DB8BAC710CB295E9E1B,
    0x1000D1B9C68ABE5F76B30FB75, 0x1001A37E4A234CB0830516E51,
    0x100347278AB0E92ADA25AB460, 0x10068EFB00A525480A5D7FDC2,
    0x100D20A63B4173839DF9DAAA5, 0x101A4C11C742DD7729738DF5E,
    0x1034C35C31F64CFA6DC0D6DE4, 0x106A34B78C8AAFFBF81BED5A3,
    0x10D72A6A46CCD8BCE9AE771B1, 0x11B9A258E63928596DC757FAA,
    0x13A2E2BDA04F8379F3CD17BE5, 0x181954BE69E0DA8FE77F2AB42,
    0x244C2655D185A029080252877, 0x525816EEB9F935B1C616779E8,
    0x1A7C8D00B551684FF4D31AE065, 0x2BD893D0B2DF7C97884590C66CD,
    0x78278E1E19E448CF8B95D2152DCCF,
]
MIN_TICK, MAX_TICK = -443_636, 443_636
PPM = 1_000_000


def product(factors, tick, shift):
    ratio = 1 << shift
    for bit, factor in enumerate(factors):
        if abs(tick) >> bit & 1:
            ratio = ratio * factor >> shift
    return ratio


def checked(prices):
    """Remembers the prices of ticks, and compares each with the real one."""
    known = {}

    def price(tick):
        if tick not in known:
            known[tick] = prices(tick)
            real = (Decimal(10_001) / Decimal(10_000)) ** (Decimal(tick) / 2) * Q64
            assert abs(known[tick] - real) <= 2 + real / Decimal(1 << 30), tick
        return known[tick]

    return price


raydium_price = checked(lambda t: U128 // product(RAYDIUM, t, 64) if t > 0 else product(RAYDIUM, t, 64))
orca_price = checked(lambda t: product(ORCA_RISING, t, 96) >> 32 if t > 0 else product(ORCA_FALLING, t, 64))


def tick_of(price_of, price):
    low, high = MIN_TICK, MAX_TICK
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if price_of(middle) <= price else (low, middle - 1)
    return low


def step(price, target, liquidity, rest, fee_ppm, a_to_b, fee_on_input=True):
    """Returns the next price, the input with its fee, and the output: the programs' compute_swap, exact in."""
    if liquidity == 0 or price == target:
        return target, 0, 0
    low, high = min(price, target), max(price, target)
    delta_a = lambda low, high: Fraction(liquidity * Q64 * (high - low), low * high)
    delta_b = lambda low, high: Fraction(liquidity * (high - low), Q64)
    delta_in, delta_out = (delta_a, delta_b) if a_to_b else (delta_b, delta_a)
    net = rest * (PPM - fee_ppm) // PPM if fee_on_input else rest
    needed = ceil(delta_in(low, high))
    if net >= needed:
        reached, given = target, floor(delta_out(low, high))
        taken = needed + (ceil(Fraction(needed * fee_ppm, PPM - fee_ppm)) if fee_on_input else 0)
    else:
        if a_to_b:
            reached = ceil(Fraction(liquidity * Q64 * price, liquidity * Q64 + net * price))
        else:
            reached = price + net * Q64 // liquidity
        taken, given = rest, floor(delta_out(min(price, reached), max(price, reached)))
    if not fee_on_input:
        given -= ceil(Fraction(given * fee_ppm, PPM))
    return reached, taken, given


def accumulator(fee, group):
    """The volatility in a group of ticks."""
    volatility = fee["volatility"]
    moved = volatility["reference"] + abs(volatility["index_reference"] - group) * 10_000
    return min(moved, fee["max_volatility_accumulator"])


def fee_rate(base_ppm, fee, size):
    crossed = fee["volatility"]["accumulator"] * size
    return min(base_ppm + min(ceil(Fraction(fee["control_factor"] * crossed**2, 100_000 * 10_000**2)), 100_000), 100_000)


def fill_orders(price, orders, rest, rate, a_to_b, fee_on_input):
    """Returns the input with its fee, the output, and what is left of limit orders: match_limit_order."""
    # The price of token a, rounded against the trade.
    price_a = price * price // Q64 if a_to_b else ceil(Fraction(price * price, Q64))
    value = Fraction(price_a, Q64) if a_to_b else Fraction(Q64, price_a)
    net = rest - ceil(Fraction(rest * rate, PPM)) if fee_on_input else rest
    taken, sold = rest, floor(net * value)
    if sold > orders:
        taken, sold = ceil(orders / value), orders
        taken += ceil(Fraction(taken * rate, PPM - rate)) if fee_on_input else 0
    return taken, sold - (0 if fee_on_input else ceil(Fraction(sold * rate, PPM))), orders - sold


def raydium_trade(pool, at, a_to_b, amount):
    """swap_internal of raydium-clmm, exact in, without a price limit."""
    pool = copy.deepcopy(pool)
    price, tick, liquidity = int(pool["sqrt_price_x64"]), pool["tick_current"], int(pool["liquidity"])
    spacing, fee = pool["tick_spacing"], pool.get("dynamic_fee")
    fee_on = pool.get("fee_on", "input")
    on_input = fee_on == "input" or (fee_on == "token_a") == a_to_b
    nets = {t["index"]: int(t["liquidity_net"]) for t in pool["ticks"]}
    orders = {o["index"]: int(o["amount"]) for o in pool.get("limit_orders", [])}
    group = tick // spacing
    if fee:
        volatility = fee["volatility"]
        elapsed = max(at - volatility["last_update"], 0)
        if elapsed >= fee["filter_period_s"]:
            decayed = volatility["accumulator"] * fee["reduction_factor_bps"] // 10_000
            volatility |= {"reference": decayed if elapsed < fee["decay_period_s"] else 0, "index_reference": group, "last_update": at}
    rest, out = amount, 0
    while rest > 0:
        ahead = [t for t in sorted(set(nets) | set(orders)) if (t <= tick if a_to_b else t > tick)]
        if not ahead:
            return None
        boundary = ahead[-1] if a_to_b else ahead[0]
        target = raydium_price(boundary)
        while True:
            rate, until, skips = pool["fee_ppm"], target, True
            if fee:
                fee["volatility"]["accumulator"] = accumulator(fee, group)
                rate = fee_rate(pool["fee_ppm"], fee, spacing)
                skips = liquidity == 0 or fee["volatility"]["accumulator"] == fee["max_volatility_accumulator"]
                if not skips:
                    edge = group * spacing if a_to_b else (group + 1) * spacing
                    edge = raydium_price(min(max(edge, MIN_TICK), MAX_TICK))
                    until = max(edge, target) if a_to_b else min(edge, target)
            before = price
            price, taken, given = step(price, until, liquidity, rest, rate, a_to_b, on_input)
            rest, out = rest - taken, out + given
            if price == target:
                if boundary in (MIN_TICK, MAX_TICK):
                    return None
                if boundary in orders and rest:
                    taken, given, left = fill_orders(price, orders[boundary], rest, rate, a_to_b, on_input)
                    rest, out = rest - taken, out + given
                    orders[boundary] = left
                    if not left:
                        del orders[boundary]
                if boundary not in orders:
                    liquidity += nets.get(boundary, 0) * (-1 if a_to_b else 1)
                tick = boundary - 1 if a_to_b != (boundary in orders) else boundary
            elif price != before:
                tick = tick_of(raydium_price, price)
            if fee:
                if skips:
                    group = (boundary if price == target else tick) // spacing
                    if not a_to_b and (boundary if price == target else tick) % spacing == 0:
                        group -= 1
                    if fee["volatility"]["accumulator"] != fee["max_volatility_accumulator"]:
                        fee["volatility"]["accumulator"] = accumulator(fee, group)
                group += -1 if a_to_b else 1
            if rest == 0 or price == target:
                break
    pool |= {"sqrt_price_x64": str(price), "tick_current": tick, "liquidity": str(liquidity)}
    if "limit_orders" in pool:
        pool["limit_orders"] = [{"index": i, "amount": str(left)} for i, left in sorted(orders.items())]
    return out, pool


def orca_reference(fee, group, at):
    """AdaptiveFeeVariables::update_reference."""
    volatility = fee["volatility"]
    restarted = {"reference": 0, "index_reference": group, "last_reference_update": at}
    if at - volatility["last_reference_update"] > 3_600:
        volatility |= restarted
        return
    elapsed = at - max(volatility["last_reference_update"], volatility["last_major_swap"])
    assert elapsed >= 0
    if elapsed >= fee["filter_period_s"]:
        decayed = volatility["accumulator"] * fee["reduction_factor_bps"] // 10_000
        volatility |= restarted | {"reference": decayed if elapsed < fee["decay_period_s"] else 0}


def whirlpool_trade(pool, at, a_to_b, amount):
    """swap of Orca's whirlpools with its FeeRateManager, exact in, without a price limit."""
    pool = copy.deepcopy(pool)
    start = price = int(pool["sqrt_price_x64"])
    tick, liquidity, fee = pool["tick_current"], int(pool["liquidity"]), pool.get("adaptive_fee")
    nets = {t["index"]: int(t["liquidity_net"]) for t in pool["ticks"]}
    if fee:
        size = fee["tick_group_size"]
        group = tick // size
        orca_reference(fee, group, at)
        volatility = fee["volatility"]
        reach = ceil(Fraction(fee["max_volatility_accumulator"] - volatility["reference"], 10_000))
        lowest, highest = volatility["index_reference"] - reach, volatility["index_reference"] + reach
        low_price = orca_price(lowest * size) if lowest * size > MIN_TICK else None
        high_price = orca_price((highest + 1) * size) if (highest + 1) * size < MAX_TICK else None

    def bounded(target):
        """Where the next step ends, and whether it skips groups: get_bounded_sqrt_price_target."""
        if fee["control_factor"] == 0 or liquidity == 0:
            return target, True
        if low_price is not None and group < lowest:
            return (target if a_to_b else min(target, low_price)), True
        if high_price is not None and group > highest:
            return (max(target, high_price) if a_to_b else target), True
        edge = orca_price(min(max(group * size if a_to_b else (group + 1) * size, MIN_TICK), MAX_TICK))
        return (max(target, edge) if a_to_b else min(target, edge)), False

    rest, out, protocol = amount, 0, 0
    while rest > 0:
        ahead = [t for t in sorted(nets) if (t <= tick if a_to_b else t > tick)]
        if not ahead:
            return None
        boundary = ahead[-1] if a_to_b else ahead[0]
        target = orca_price(boundary)
        while True:
            rate, until, skips = pool["fee_ppm"], target, False
            if fee:
                volatility["accumulator"] = accumulator(fee, group)
                rate = fee_rate(pool["fee_ppm"], fee, size)
                until, skips = bounded(target)
            before = price
            price, taken, given = step(price, until, liquidity, rest, rate, a_to_b)
            rest, out = rest - taken, out + given
            if price == target:
                # The program fills a trade in part that reaches an end of all prices. No quote does.
                if boundary in (MIN_TICK, MAX_TICK):
                    return None
                liquidity += nets[boundary] * (-1 if a_to_b else 1)
                tick = boundary - 1 if a_to_b else boundary
            elif price != before:
                tick = tick_of(orca_price, price)
            if fee:
                if skips:
                    at_tick = boundary if price == target else tick_of(orca_price, price)
                    on_edge = at_tick % size == 0 and price == orca_price(at_tick)
                    last = at_tick // size - (1 if on_edge and not a_to_b else 0)
                    if last < group if a_to_b else last > group:
                        group = last
                        volatility["accumulator"] = accumulator(fee, group)
                group += -1 if a_to_b else 1
            if rest == 0 or price == target:
                break
    if fee:
        factor = orca_price(fee["major_swap_threshold_ticks"])
        if max(start, price) >= min(start, price) * factor >> 64:
            volatility["last_major_swap"] = at
    pool |= {"sqrt_price_x64": str(price), "tick_current": tick, "liquidity": str(liquidity)}
    return out, pool


AT = 1_700_000_000


def ranges(rng, price_of, spacing):
    """Returns the fields that pools of both programs have."""
    tick = rng.choice([rng.randrange(-20_000, 20_000), rng.randrange(-200_000, 200_000)])
    center, nets, liquidity = tick // spacing, {}, 0
    for number in range(rng.randrange(1, 6)):
        lower = (center + rng.randrange(-40, 30)) * spacing
        upper = lower + rng.randrange(1, 70) * spacing
        if number == 0 and rng.random() < 0.3:
            upper = MAX_TICK // spacing * spacing
            lower = -upper
        provided = rng.randrange(1 << 30, 1 << rng.choice([40, 60, 70]))
        nets[lower] = nets.get(lower, 0) + provided
        nets[upper] = nets.get(upper, 0) - provided
        liquidity += provided if lower <= tick < upper else 0
    return {
        "sqrt_price_x64": str(rng.randrange(price_of(tick), price_of(tick + 1) + rng.choice([0, 1]))),
        "tick_current": tick,
        "tick_spacing": spacing,
        "liquidity": str(liquidity),
        "ticks": [{"index": i, "liquidity_net": str(net)} for i, net in sorted(nets.items())],
    }


def varying_fee(rng, group, most=350_000):
    reached = rng.choice([most, most // 4])
    return {
        "filter_period_s": 30,
        "decay_period_s": 600,
        "reduction_factor_bps": 5_000,
        "control_factor": rng.choice([200, 4_000, 50_000]),
        "max_volatility_accumulator": most,
        "volatility": {
            "reference": rng.randrange(reached),
            "index_reference": group + rng.randrange(-12, 13),
            "accumulator": rng.randrange(most),
        },
    }


def concentrated_pools(rng):
    for index in range(130):
        spacing = rng.choice([1, 10, 60])
        pool = {"kind": "concentrated"} | ranges(rng, raydium_price, spacing)
        pool["fee_ppm"] = rng.choice([100, 500, 2_500, 10_000])
        if index % 3:
            pool["fee_on"] = rng.choice(["input", "token_a", "token_b"])
        if index % 2:
            fee = varying_fee(rng, pool["tick_current"] // spacing)
            fee["volatility"]["last_update"] = AT - rng.choice([0, 29, 30, 599, 600])
            pool["dynamic_fee"] = fee
        if index % 5 > 1:
            center = pool["tick_current"] // spacing
            chosen = {(center + rng.randrange(-40, 40)) * spacing for _ in range(rng.randrange(1, 5))}
            chosen |= {rng.choice(pool["ticks"])["index"]} - {-(MAX_TICK // spacing) * spacing, MAX_TICK // spacing * spacing}
            amount = lambda: str(rng.randrange(1, 1 << rng.choice([20, 40, 56])))
            pool["limit_orders"] = [{"index": i, "amount": amount()} for i in sorted(chosen)]
        yield pool, AT, 1 << 62


def whirlpool_pools(rng):
    for index in range(130):
        spacing = rng.choice([1, 8, 64, 128])
        pool = {"kind": "whirlpool"} | ranges(rng, orca_price, spacing)
        pool["fee_ppm"] = rng.choice([100, 400, 3_000, 10_000])
        if index % 3:
            size = max(spacing // rng.choice([1, 1, 2, 8]), 1)
            fee = varying_fee(rng, pool["tick_current"] // size, rng.choice([350_000, 60_000]))
            fee["control_factor"] = rng.choice([0, fee["control_factor"], fee["control_factor"]])
            fee |= {"tick_group_size": size, "major_swap_threshold_ticks": min(64, spacing * 88)}
            fee["volatility"]["last_reference_update"] = AT - rng.choice([0, 29, 30, 599, 600, 3_601])
            fee["volatility"]["last_major_swap"] = AT - rng.choice([0, 29, 30, 599, 600, 5_000])
            pool["adaptive_fee"] = fee
        yield pool, AT, 1 << 62
