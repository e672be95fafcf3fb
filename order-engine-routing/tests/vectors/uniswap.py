"""Uniswap v2 and v3: the formulas of UniswapV2Library, and the loop of UniswapV3Pool.swap with its words of 256 ticks."""

from decimal import Decimal, getcontext
from fractions import Fraction
from math import ceil, floor

getcontext().prec = 80

Q96, Q128, PPM = 1 << 96, 1 << 128, 1_000_000
MAX_TICK = 887_272
WORD = 256
FALLING = [
    0xFFFCB933BD6FAD37AA2D162D1A594001, 0xFFF97272373D413259A46990580E213A,
    0xFFF2E50F5F656932EF12357CF3C7FDCC, 0xFFE5CACA7E10E4E61C3624EAA0941CD0,
    0xFFCB9843D60F6159C9DB58835C926644, 0xFF973B41FA98C081472E6896DFB254C0,
    0xFF2EA16466C96A3843EC78B326B52861, 0xFE5DEE046A99A2A811C461F1969C3053,
    0xFCBE86C7900A88AEDCFFC83B479AA3A4, 0xF987A7253AC413176F2B074CF7815E54,
    0xF3392B0822B70005940C7A398E4B70F3, 0xE7159475A2C29B7443B29C7FA6E889D9,
    0xD097F3BDFD2022B8845AD8F792AA5825, 0xA9F746462D870FDF8A65DC1F90E061E5,
    0x70D869A156D2A1B890BB3DF62BAF32F7, 0x31BE135F97D08FD981231505542FCFA6,
    0x9AA508B5B7A84E1C677DE54F3E99BC9, 0x5D6AF8DEDB81196699C329225EE604,
    0x2216E584F5FA1EA926041BEDFE98, 0x48A170391F7DC42444E8FA2,
]
KNOWN = {}


def price_at(tick):
    """TickMath.getSqrtRatioAtTick, compared with the real price."""
    if tick not in KNOWN:
        ratio = Q128
        for bit, factor in enumerate(FALLING):
            if abs(tick) >> bit & 1:
                ratio = ratio * factor >> 128
        if tick > 0:
            ratio = ((1 << 256) - 1) // ratio
        KNOWN[tick] = ceil(Fraction(ratio, 1 << 32))
        real = (Decimal(10_001) / Decimal(10_000)) ** (Decimal(tick) / 2) * Q96
        assert abs(KNOWN[tick] - real) <= 2 + real / Decimal(1 << 80), tick
    return KNOWN[tick]


def tick_of(price):
    low, high = -MAX_TICK, MAX_TICK
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if price_at(middle) <= price else (low, middle - 1)
    return low


def v2_trade(pool, at, a_to_b, amount):
    """getAmountOut, and the pair after the trade."""
    names = ("reserve_a", "reserve_b") if a_to_b else ("reserve_b", "reserve_a")
    reserve_in, reserve_out = (int(pool[name]) for name in names)
    fee = Fraction(pool["fee"]["numerator"], pool["fee"]["denominator"])
    net = amount * (1 - fee)
    out = floor(net * reserve_out / (reserve_in + net))
    if reserve_in + amount >= 1 << 112:
        return None
    return out, pool | {names[0]: str(reserve_in + amount), names[1]: str(reserve_out - out)}


def v2_pools(rng):
    for _ in range(126):
        bits = rng.choice([30, 45, 60, 100])
        pool = {
            "kind": "uniswap_v2",
            "reserve_a": str(rng.randrange(1 << (bits - 8), 1 << bits)),
            "reserve_b": str(rng.randrange(1 << (bits - 8), 1 << bits)),
            "fee": rng.choice([{"numerator": 3, "denominator": 1_000}, {"numerator": 25, "denominator": 10_000}]),
        }
        yield pool, 0, min(int(pool["reserve_a"]), int(pool["reserve_b"]))


def step(price, target, liquidity, rest, fee_ppm, a_to_b):
    """SwapMath.computeSwapStep, exact in: the next price, the input with its fee, and the output."""
    low, high = min(price, target), max(price, target)
    # The contract divides by one price after the other, and rounds after each.
    def amount_a(low, high, rounded):
        return rounded(Fraction(rounded(Fraction(liquidity * Q96 * (high - low), high)), low))

    def amount_b(low, high, rounded):
        return rounded(Fraction(liquidity * (high - low), Q96))

    amount_in, amount_out = (amount_a, amount_b) if a_to_b else (amount_b, amount_a)
    net, needed = rest * (PPM - fee_ppm) // PPM, amount_in(low, high, ceil)
    if net >= needed:
        reached = target
    elif a_to_b:
        reached = ceil(Fraction(liquidity * Q96 * price, liquidity * Q96 + net * price))
    else:
        reached = price + net * Q96 // liquidity
    if reached == target:
        taken = needed + ceil(Fraction(needed * fee_ppm, PPM - fee_ppm))
    else:
        taken = rest
    return reached, taken, amount_out(min(price, reached), max(price, reached), floor)


def v3_trade(pool, at, a_to_b, amount):
    """UniswapV3Pool.swap, exact in, as far as the words of the bitmap are known."""
    price, tick = int(pool["sqrt_price_x96"]), pool["tick_current"]
    liquidity, spacing = int(pool["liquidity"]), pool["tick_spacing"]
    nets = {t["index"]: int(t["liquidity_net"]) for t in pool["ticks"]}
    rest, out = amount, 0
    while rest > 0:
        start = tick // spacing + (0 if a_to_b else 1)
        word = start // WORD
        if not pool["first_word"] <= word <= pool["last_word"]:
            return None
        indices = range(start, word * WORD - 1, -1) if a_to_b else range(start, (word + 1) * WORD)
        boundary = next((index * spacing for index in indices if index * spacing in nets), indices[-1] * spacing)
        boundary = min(max(boundary, -MAX_TICK), MAX_TICK)
        if abs(boundary) == MAX_TICK:
            return None
        target, before = price_at(boundary), price
        price, taken, given = step(price, target, liquidity, rest, pool["fee_ppm"], a_to_b)
        rest, out = rest - taken, out + given
        if price == target:
            liquidity += nets.get(boundary, 0) * (-1 if a_to_b else 1)
            tick = boundary - 1 if a_to_b else boundary
        elif price != before:
            tick = tick_of(price)
    return out, pool | {"sqrt_price_x96": str(price), "tick_current": tick, "liquidity": str(liquidity)}


def v3_pools(rng):
    for index in range(148):
        fee_ppm, spacing = rng.choice([(100, 1), (500, 10), (3_000, 60), (10_000, 200)])
        tick = rng.randrange(-20_000, 20_000) if index % 4 else rng.randrange(-600_000, 600_000)
        center, nets, liquidity = tick // spacing, {}, 0
        for _ in range(rng.randrange(1, 7)):
            lower = center + rng.randrange(-300, 200)
            upper = lower + rng.randrange(1, 300)
            provided = rng.randrange(1, 1 << rng.choice([40, 60, 80]))
            nets[lower * spacing] = nets.get(lower * spacing, 0) + provided
            nets[upper * spacing] = nets.get(upper * spacing, 0) - provided
            liquidity += provided if lower * spacing <= tick < upper * spacing else 0
        low, high = price_at(tick), price_at(tick + 1)
        pool = {
            "kind": "uniswap_v3",
            "sqrt_price_x96": str(rng.choice([low, high, rng.randrange(low, high)])),
            "tick_current": tick,
            "tick_spacing": spacing,
            "liquidity": str(liquidity),
            "fee_ppm": fee_ppm,
            "ticks": [{"index": i, "liquidity_net": str(net)} for i, net in sorted(nets.items()) if net],
            "first_word": (center - 300) // WORD,
            "last_word": (center + 500) // WORD,
        }
        yield pool, 0, 1 << rng.choice([40, 60, 80])
