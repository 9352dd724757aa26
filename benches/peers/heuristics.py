#!/usr/bin/env python3
"""Times sampling pipelines of other implementations on one row of 128,256 logits, in turns with this project's.

Opt-in; nothing in the build or the tests needs it:

    python3 -m venv peers && peers/bin/pip install numpy safetensors torch transformers llama-cpp-python
    cargo build --release --example time_pipelines -p lsn-heuristics
    peers/bin/python benches/peers/heuristics.py target/release/examples/time_pipelines

A library that is not installed is left out and named. Every number is process CPU time of one thread per row (user and
system), the least of all rounds; in each round each implementation gets one turn of 20 rows, so a busy machine falls on all alike.
llama.cpp's time includes the refill of its candidate array, which each step needs.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from safetensors.numpy import save_file

VOCABULARY, ROUNDS, ROWS = 128_256, 10, 20
TEMPERATURE, TOP_K, TOP_P, MIN_P = 0.7, 50, 0.95, 0.05


def logits():
    """A bell curve of spread 2 and 2,000 likelier tokens by Zipf's law: top-p 0.95 keeps 260 at temperature 0.7."""
    rng = np.random.default_rng(0)
    row = rng.normal(0.0, 2.0, VOCABULARY)
    likely = rng.choice(VOCABULARY, 2000, replace=False)
    row[likely] = 13.0 - np.log(np.arange(1, 2001)) + rng.random(2000)
    return row.astype(np.float32)


def cpu_ms(step):
    """CPU milliseconds of one of ROWS steps."""
    start = time.process_time()
    for _ in range(ROWS):
        step()
    return (time.process_time() - start) / ROWS * 1e3


def transformers_steps(row):
    import torch
    from transformers.generation import logits_process as lp

    torch.set_num_threads(1)
    scores = torch.from_numpy(row)[None]
    warpers = {
        "T": lp.TemperatureLogitsWarper(TEMPERATURE),
        "k": lp.TopKLogitsWarper(TOP_K),
        "p": lp.TopPLogitsWarper(TOP_P),
        "m": lp.MinPLogitsWarper(MIN_P),
    }

    def step(names):
        def run():
            out = scores
            for name in names:
                out = warpers[name](None, out)
            return out

        return run

    return {"T+k+p+m": step("Tkpm"), "T+p+m": step("Tpm")}


def llamacpp_steps(row):
    import llama_cpp as lc

    one = lc.llama_token_data * VOCABULARY
    template, candidates = one(), one()
    for token in range(VOCABULARY):
        template[token].id, template[token].logit = token, float(row[token])
    array = lc.llama_token_data_array(data=candidates, size=VOCABULARY, selected=-1, sorted=False)

    def step(samplers):
        def run():
            ctypes.memmove(candidates, template, ctypes.sizeof(one))
            array.size, array.sorted, array.selected = VOCABULARY, False, -1
            array.data = candidates
            for sampler in samplers:
                lc.llama_sampler_apply(sampler, ctypes.byref(array))

        return run

    temperature = lc.llama_sampler_init_temp(TEMPERATURE)
    top_k = lc.llama_sampler_init_top_k(TOP_K)
    top_p = lc.llama_sampler_init_top_p(TOP_P, 1)
    min_p = lc.llama_sampler_init_min_p(MIN_P, 1)
    return {
        "T+k+p+m": step([temperature, top_k, top_p, min_p]),
        "T+p+m": step([temperature, top_p, min_p]),
    }


def main():
    program = sys.argv[1]
    row = logits()
    peers = {}
    for name, make in (("transformers", transformers_steps), ("llama.cpp", llamacpp_steps)):
        try:
            peers[name] = make(row)
        except ImportError as error:
            print(f"{name}: left out ({error})", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "row.safetensors")
        save_file({"logits": row[None]}, path)
        best = {}
        for _ in range(ROUNDS):
            ours = subprocess.run([program, path, str(ROWS)], check=True, capture_output=True, text=True)
            for line in ours.stdout.splitlines():
                pipeline, level, ms = line.split("\t")
                key = (pipeline, f"lsn ({level})")
                best[key] = min(best.get(key, np.inf), float(ms))
            for name, steps in peers.items():
                for pipeline, step in steps.items():
                    best[pipeline, name] = min(best.get((pipeline, name), np.inf), cpu_ms(step))
    for pipeline in ("T+k+p+m", "T+p+m"):
        base = best[pipeline, "lsn (vector)"]
        for (of, name), ms in sorted(best.items()):
            if of == pipeline:
                print(f"{pipeline:8} {name:14} {ms:8.3f} ms CPU  {ms / base:6.1f} x")


if __name__ == "__main__":
    main()
