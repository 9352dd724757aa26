#!/usr/bin/env python3
"""Packs the n-gram profiles of the Python package `langdetect` (1.0.9) into `profiles.tsv.zst`.

Usage: pip install langdetect==1.0.9, then `python pack.py` in this folder; needs the `zstd` program.

Lines, divided by tabs:
  kanji <characters>                       all of them count as the first one
  vi <combining mark> <plain> <composed>   n-th plain letter + mark = n-th composed letter
  lang <code> <total 1-grams> <total 2-grams> <total 3-grams>
  <n-gram> <count>                         belongs to the last `lang` line
"""
import json
import pathlib
import subprocess

import langdetect
from langdetect.utils import messages, ngram

profiles = pathlib.Path(langdetect.__file__).parent / "profiles"
lines = [f"kanji\t{group}" for group in ngram.NGram.CJK_CLASS]
plain = messages.get_string("TO_NORMALIZE_VI_CHARS")
for mark in messages.get_string("DMARK_CLASS"):
    composed = messages.get_string(f"NORMALIZED_VI_CHARS_{ord(mark):04X}")
    assert len(composed) == len(plain)
    lines.append(f"vi\t{mark}\t{plain}\t{composed}")
for path in sorted(profiles.iterdir()):
    profile = json.loads(path.read_text(encoding="utf-8"))
    lines.append("\t".join(["lang", profile["name"], *map(str, profile["n_words"])]))
    for gram, count in sorted(profile["freq"].items()):
        assert 1 <= len(gram) <= 3 and "\t" not in gram and "\n" not in gram
        lines.append(f"{gram}\t{count}")
table = "".join(line + "\n" for line in lines).encode()
pathlib.Path("profiles.tsv.zst").write_bytes(
    subprocess.run(["zstd", "-19", "--ultra", "-22", "-c", "--no-check"], input=table, stdout=subprocess.PIPE, check=True).stdout
)
