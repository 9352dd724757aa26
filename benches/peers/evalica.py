#!/usr/bin/env python3
"""CPU time of evalica on the games of `cargo bench -p lsn-labels --bench bradley_terry`.

Opt-in: pip install evalica==0.4.2. Usage: python benches/peers/evalica.py [PASSES]
"""
import math
import os
import sys
import time

os.environ.setdefault("RAYON_NUM_THREADS", "1")
sys.path.pop(0)  # this file has the package's name
import evalica  # noqa: E402

PLAYERS, GAMES = 1000, 101_000
state = 1


def draw(below):
    global state
    state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
    return (state >> 33) % below


xs, ys, winners = [], [], []
while len(xs) < GAMES:
    a, b = draw(PLAYERS), draw(PLAYERS)
    luck = draw(1 << 20) / (1 << 20)
    if a != b:
        xs.append(a)
        ys.append(b)
        wins = luck < 1 / (1 + math.exp(-(b - a) * 0.004))
        winners.append(evalica.Winner.X if wins else evalica.Winner.Y)

passes = int(sys.argv[1]) if len(sys.argv) > 1 else 7
for name, options in [("defaults", {}), ("1e-10", {"tolerance": 1e-10, "limit": 1000})]:
    best = float("inf")
    for _ in range(passes):
        start = time.process_time()
        result = evalica.bradley_terry(xs, ys, winners, **options)
        best = min(best, time.process_time() - start)
    print(f"{name}: {best * 1000:.1f} ms of CPU time, {result.iterations} sweeps")
