#!/usr/bin/env python3
"""Times the sampling of other implementations on one row of 128,256 logits, in turns with this project's.

Opt-in; nothing in the build or the tests needs it:

    python3 -m venv peers && peers/bin/pip install numpy safetensors torch transformers llama-cpp-python
    cargo build --release --example time_pipelines -p lsn-heuristics
    peers/bin/python benches/peers/heuristics.py target/release/examples/time_pipelines

A library that is not installed is left out and named. Every number is process CPU time of one thread per row (user and
system), the least of all rounds; in each round each implementation gets one turn of 20 rows, so a busy machine falls on all alike.
llama.cpp's time includes the refill of its candidate array, which each step needs; ours the copy of the row. Two rows: f32
logits, which all differ, and the same ones rounded to bf16, as models give them. `benches/heuristics.md` holds the figures.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from safetensors.numpy import save_file

VOCABULARY, ROWS = 128_256, 20
CHAINS = ("T+k+p+m", "T+p+m")
TEMPERATURE, TOP_K, TOP_P, MIN_P = 0.7, 50, 0.95, 0.05


def logits():
    """A bell curve of spread 2 and 2,000 likelier tokens by Zipf's law: top-p 0.95 keeps 260 at temperature 0.7."""
    rng = np.random.default_rng(0)
    row = rng.normal(0.0, 2.0, VOCABULARY)
    likely = rng.choice(VOCABULARY, 2000, replace=False)
    row[likely] = 13.0 - np.log(np.arange(1, 2001)) + rng.random(2000)
    return row.astype(np.float32)


def rounded_to_bf16(row):
    """To the nearest of the f32 numbers whose lower 16 bits are 0, ties to even."""
    bits = row.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def cpu_ms(step):
    """CPU milliseconds of one of ROWS steps."""
    start = time.process_time()
    for _ in range(ROWS):
        step()
    return (time.process_time() - start) / ROWS * 1e3


def transformers_steps(row):
    """The chains, and each processor that our bench times alone and transformers has."""
    import torch
    from transformers.generation import logits_process as lp

    torch.set_num_threads(1)
    scores = torch.from_numpy(row)[None]
    temperature, min_p = lp.TemperatureLogitsWarper(TEMPERATURE), lp.MinPLogitsWarper(MIN_P)
    top_k, top_p = lp.TopKLogitsWarper(TOP_K), lp.TopPLogitsWarper(TOP_P)

    def step(*warpers):
        def run():
            out = scores
            for warper in warpers:
                out = warper(None, out)
            return out

        return run

    return {
        "T+k+p+m": step(temperature, top_k, top_p, min_p),
        "T+p+m": step(temperature, top_p, min_p),
        "temperature": step(temperature),
        "top_k": step(top_k),
        "top_p": step(top_p),
        "min_p": step(min_p),
        "typical": step(lp.TypicalLogitsWarper(0.9)),
        "epsilon": step(lp.EpsilonLogitsWarper(0.001)),
        "eta": step(lp.EtaLogitsWarper(0.001)),
        "log_softmax": step(lp.LogitNormalization()),
    }


def llamacpp_steps(row):
    """The chains, and each sampler that our bench times alone and llama.cpp has."""
    import llama_cpp as lc

    one = lc.llama_token_data * VOCABULARY
    candidates = one()
    # The array as a C caller's loop over the logits fills it: id, logit, p = 0.
    fields = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
    template = np.zeros(VOCABULARY, fields)
    template["id"], template["logit"] = np.arange(VOCABULARY), row
    array = lc.llama_token_data_array(data=candidates, size=VOCABULARY, selected=-1, sorted=False)

    def step(*samplers):
        chain = lc.llama_sampler_chain_init(lc.llama_sampler_chain_default_params())
        for sampler in samplers:
            lc.llama_sampler_chain_add(chain, sampler)

        def run():
            ctypes.memmove(candidates, template.ctypes.data, template.nbytes)
            array.size, array.sorted, array.selected = VOCABULARY, False, -1
            array.data = candidates
            lc.llama_sampler_apply(chain, ctypes.byref(array))
            return array.size

        return run

    temperature = lambda: lc.llama_sampler_init_temp(TEMPERATURE)
    top_k = lambda: lc.llama_sampler_init_top_k(TOP_K)
    top_p = lambda: lc.llama_sampler_init_top_p(TOP_P, 1)
    min_p = lambda: lc.llama_sampler_init_min_p(MIN_P, 1)
    steps = {
        "T+k+p+m": step(temperature(), top_k(), top_p(), min_p()),
        "T+p+m": step(temperature(), top_p(), min_p()),
        "temperature": step(temperature()),
        "dynamic_temperature": step(lc.llama_sampler_init_temp_ext(1.0, 0.5, 1.0)),
        "top_k": step(top_k()),
        "top_p": step(top_p()),
        "min_p": step(min_p()),
        "typical": step(lc.llama_sampler_init_typical(0.9, 1)),
        "top_n_sigma": step(lc.llama_sampler_init_top_n_sigma(1.0)),
        "xtc": step(lc.llama_sampler_init_xtc(1.0, 0.1, 1, 0)),
    }
    kept = steps["T+k+p+m"]()
    if not 0 < kept <= TOP_K:
        raise RuntimeError(f"the chain of llama.cpp kept {kept} tokens, expected at most {TOP_K}")
    return steps


def measure(program, path, row, rounds, only_chains):
    """The least CPU milliseconds of one row by pipeline and implementation."""
    peers = {}
    for name, make in (("transformers", transformers_steps), ("llama.cpp", llamacpp_steps)):
        try:
            steps = make(row)
            peers[name] = {of: step for of, step in steps.items() if of in CHAINS or not only_chains}
        except ImportError as error:
            print(f"{name}: left out ({error})", file=sys.stderr)
    best = {}

    def keep(pipeline, name, ms):
        times = best.setdefault(pipeline, {})
        times[name] = min(times.get(name, np.inf), ms)

    for _ in range(rounds):
        ours = subprocess.run([program, path, str(ROWS)], check=True, capture_output=True, text=True)
        for line in ours.stdout.splitlines():
            pipeline, level, ms = line.split("\t")
            keep(pipeline, f"lsn, {level}", float(ms))
        for name, steps in peers.items():
            for pipeline, step in steps.items():
                step()
                keep(pipeline, name, cpu_ms(step))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="our example time_pipelines")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--chains", action="store_true", help="of the peers, only the two chains")
    options = parser.parse_args()
    for package in ("llama-cpp-python", "transformers", "torch"):
        try:
            print(package, version(package))
        except ModuleNotFoundError:
            pass
    columns = ("lsn, vector", "lsn, plain", "llama.cpp", "transformers")
    f32 = logits()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "row.safetensors")
        for kind, row in (("bf16", rounded_to_bf16(f32)), ("f32", f32)):
            save_file({"logits": row[None]}, path)
            print(f"\n{kind}, {len(np.unique(row))} distinct of {VOCABULARY}; ms CPU")
            print("| pipeline |", " | ".join(columns), "| llama.cpp / lsn |")
            print("| --- |", " | ".join("---" for _ in columns), "| --- |")
            for pipeline, times in measure(options.program, path, row, options.rounds, options.chains).items():
                cells = [f"{times[name]:.3f}" if name in times else "" for name in columns]
                ratio = f"{times['llama.cpp'] / times['lsn, vector']:.1f}" if "llama.cpp" in times else ""
                print("|", pipeline, "|", " | ".join(cells), "|", ratio, "|")


if __name__ == "__main__":
    main()
