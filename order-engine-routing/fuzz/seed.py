#!/usr/bin/env python3
"""Writes the initial corpus: the pools of the golden vectors, each with its amount and moment."""

import json
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus" / "snapshots"

CORPUS.mkdir(parents=True, exist_ok=True)
for vectors in sorted((HERE.parent / "tests" / "vectors").glob("*.json")):
    for index, pool in enumerate(json.loads(vectors.read_text(encoding="utf-8"))["pools"]):
        at, amount = pool["rows"][0][1], int(pool["rows"][0][2])
        head = amount.to_bytes(16, "little") + at.to_bytes(8, "little")
        curve = json.dumps(pool["curve"], separators=(",", ":")).encode()
        (CORPUS / f"{vectors.stem}-{index}").write_bytes(head + curve)
