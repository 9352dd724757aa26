"""Pairs per CPU second of math-verify on the golden pairs: what `stages/labels/benches/math.rs` is measured against.

Needs `pip install math-verify==0.9.0 antlr4-python3-runtime==4.13.2`. Each pass parses and verifies every pair once,
with the package's own caches emptied before it, and prints the best pass.
"""

import json
import logging
import pathlib
import resource
import sys

sys.path.pop(0)  # this file has the package's name
from math_verify import grader, parse, parser, verify  # noqa: E402

PASSES = 3


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    logging.disable(logging.CRITICAL)
    root = pathlib.Path(__file__).resolve().parents[2]
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/vectors/math/verify.jsonl"
    pairs = [json.loads(line) for line in path.read_text().splitlines()]
    best, agreed = None, 0
    for _ in range(PASSES):
        for module in (parser, grader):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
        start = cpu_seconds()
        verdicts = [verify(parse(pair["gold"]), parse(pair["pred"])) for pair in pairs]
        spent = cpu_seconds() - start
        best = spent if best is None else min(best, spent)
        agreed = sum(verdict == pair["expected"] for verdict, pair in zip(verdicts, pairs))
    print(f"pairs: {len(pairs)}, as recorded: {agreed}, CPU seconds: {best:.2f}, pairs per CPU second: {len(pairs) / best:.0f}")


if __name__ == "__main__":
    main()
