#!/usr/bin/env python3
"""Writes the initial corpus: the pools of the golden vectors, each with its amount and moment."""

import json
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus" / "snapshots"

CORPUS.mkdir(parents=True, exist_ok=True)
for vectors in sorted((HERE.parent / "tests" / "vectors").glob("*.json")):
    for index, case in enumerate(json.loads(vectors.read_text(encoding="utf-8"))["cases"][::3]):
        amount, at = int(case["amount_in"]), case["at"]
        head = amount.to_bytes(16, "little") + at.to_bytes(8, "little")
        curve = json.dumps(case["curve"], separators=(",", ":")).encode()
        (CORPUS / f"{vectors.stem}-{index}").write_bytes(head + curve)
