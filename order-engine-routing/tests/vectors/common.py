"""What the generators of golden vectors share."""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
Q64 = 1 << 64
U128 = (1 << 128) - 1
NAMES = {True: "a_to_b", False: "b_to_a"}


def least(holds, high):
    """Returns the least integer for which a condition holds that holds for all larger ones."""
    low = 0
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


class Vectors:
    """The vectors of a curve.

    `trade(pool, at, a_to_b, amount)` returns the output and the pool after the trade, or None if the pool refuses it. A
    row is the direction, the moment, the input and its output, then an output and its least input, then a second trade,
    of the pool after the first: direction, moment, input and output. What is refused is null.
    """

    def __init__(self, name, source, trade, has_exact_out=True, has_second=True, more=None):
        self.name, self.trade = name, trade
        self.source = f"tests/vectors/generate.py, after {source}"
        self.has_exact_out, self.has_second, self.more = has_exact_out, has_second, more
        self.rng = random.Random(name)

    def out(self, pool, at, a_to_b, amount):
        traded = self.trade(pool, at, a_to_b, amount)
        return traded[0] if traded and traded[0] > 0 else None

    def row(self, pool, at, most):
        rng = self.rng
        a_to_b = rng.random() < 0.5
        while most > 1 and self.out(pool, at, a_to_b, most) is None:
            most >>= 1
        amount = rng.randrange(1, max(most * 5 // 4 >> rng.choice([0, 0, 1, 3, 8, 20]), 2))
        out = self.out(pool, at, a_to_b, amount)
        row = [NAMES[a_to_b], at, str(amount), str(out) if out else None, None, None, None]
        if out and self.has_exact_out:
            wanted = rng.randrange(1, out + 1)
            suffices = lambda amount: (self.out(pool, at, a_to_b, amount) or 0) >= wanted
            row[4] = [str(wanted), str(least(suffices, amount))]
        if out and self.has_second:
            row[5] = self.second(pool, at, a_to_b, amount, out)
        if out and self.more:
            row[6] = str(self.more(pool, at, a_to_b, amount))
        return row

    def second(self, pool, at, a_to_b, amount, out):
        after = self.trade(pool, at, a_to_b, amount)[1]
        goes_on = self.rng.random() < 0.5
        then = at + self.rng.choice([0, 1, 20, 40, 700])
        amount = max((amount if goes_on else out) // self.rng.choice([1, 2, 10]), 1)
        paid = self.out(after, then, a_to_b == goes_on, amount)
        return [NAMES[a_to_b == goes_on], then, str(amount), str(paid) if paid else None]

    def write(self, pools, each=8):
        """Writes `each` rows for every pool, which comes with a moment and the largest amount worth trying."""
        lines, quoted, count = [], 0, 0
        for pool, at, most in pools(self.rng):
            rows = [self.row(pool, at, most) for _ in range(each)]
            quoted, count = quoted + sum(1 for row in rows if row[3]), count + len(rows)
            lines.append(json.dumps({"curve": pool, "rows": rows}, separators=(",", ":")))
        assert count >= 1_000, f"{self.name}: only {count} rows"
        assert quoted * 2 > count, f"{self.name}: only {quoted} of {count} quotes succeed"
        head, body = json.dumps(self.source), ",\n".join(lines)
        path = HERE / f"{self.name}.json"
        path.write_text(f'{{"source":{head},\n"pools":[\n{body}\n]}}\n', encoding="utf-8")
        print(f"{path.name}: {count} rows, {quoted} of them quoted, {path.stat().st_size >> 10} KiB")
