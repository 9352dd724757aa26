#!/usr/bin/env python3
"""IFEval rows per CPU second of the reference, on the rows of `cargo bench -p lsn-labels --bench ifeval`.

Opt-in: pip install nltk==3.10.4 langdetect==1.0.9 immutabledict, the folder `lm_eval/tasks/ifeval` of lm_eval 0.4.13 on the path
(`pip install --no-deps lm_eval==0.4.13`), and nltk's `punkt_tab` data.

Usage: python benches/peers/ifeval.py [--language] [PASSES]
"""
import importlib.util
import json
import pathlib
import sys
import time
import types


def reference():
    """The instruction modules alone: importing the whole of lm_eval would need torch."""
    root = pathlib.Path(importlib.util.find_spec("lm_eval").submodule_search_locations[0])
    for name in ["lm_eval", "lm_eval.tasks", "lm_eval.tasks.ifeval"]:
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    from lm_eval.tasks.ifeval import instructions_registry, utils

    return instructions_registry, utils


registry, utils = reference()
language = "--language" in sys.argv
passes = next((int(argument) for argument in sys.argv[1:] if argument.isdigit()), 5)
language_types = {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}
path = pathlib.Path(__file__).parents[2] / "tests/vectors/ifeval/instructions.jsonl"
rows = [json.loads(line) for line in path.open(encoding="utf-8")]
rows = [row for row in rows if (row["instruction_id"] in language_types) == language]


def judge():
    wrong = 0
    for row in rows:
        example = utils.InputExample(0, [row["instruction_id"]], "", [row["kwargs"]])
        strict = utils.test_instruction_following_strict(example, row["response"]).follow_all_instructions
        loose = utils.test_instruction_following_loose(example, row["response"]).follow_all_instructions
        wrong += (strict, loose) != (row["strict"], row["loose"])
    return wrong


wrong = judge()
best = float("inf")
for _ in range(passes):
    start = time.process_time()
    judge()
    best = min(best, time.process_time() - start)
print(f"{len(rows)} rows, {wrong} unlike the golden verdicts: {len(rows) / best:.0f} rows per CPU second")
