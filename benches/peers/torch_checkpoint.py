"""Checkpoints of the reference's networks, loaded in PyTorch by name, and both on the same logits. Opt-in:

    python3 -m venv venv && venv/bin/pip install torch numpy safetensors
    venv/bin/python benches/peers/torch_checkpoint.py target/debug/lsn CHECKPOINT_DIR..

Each checkpoint is written anew in f32 and in bf16 (`lsn sampler convert`). PyTorch loads the tensors as they are stored, strictly,
and computes in f64 what `lsn sampler apply` computes in f32: outputs must agree to 1e-4 of the largest.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sampler_networks import NETWORKS


def built(description):
    network, _ = NETWORKS[description["architecture"]]
    arguments = dict(description["arguments"])
    arguments.pop("statistics", None)
    return network(**arguments)


def check(lsn, checkpoint, precision, work):
    converted, logits, out = work / precision, work / "logits.safetensors", work / f"{precision}.safetensors"
    command = [lsn, "sampler", "convert", "--checkpoint", checkpoint, "--out", converted, "--precision", precision]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    description = json.loads((converted / "config.json").read_text())
    tensors = load_file(converted / "sampler.safetensors")
    assert all(tensor.dtype == {"f32": torch.float32, "bf16": torch.bfloat16}[precision] for tensor in tensors.values())
    network = built(description).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    network.load_state_dict(tensors, strict=True)
    raw = (torch.randn(3, 5000, generator=torch.Generator().manual_seed(1)) * 3).to(torch.bfloat16).float()
    save_file({"logits": raw}, logits)
    command = [lsn, "sampler", "apply", "--checkpoint", converted, "--logits", logits, "--out", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ours = load_file(out)["logits"].double()
    with torch.no_grad():
        theirs = network.double()(raw.double())
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item(), description["architecture"]


def main():
    lsn, *checkpoints = sys.argv[1:]
    assert checkpoints, "name at least one checkpoint directory"
    worst = 0.0
    for checkpoint in checkpoints:
        for precision in ("f32", "bf16"):
            with tempfile.TemporaryDirectory() as work:
                apart, architecture = check(lsn, checkpoint, precision, Path(work))
            print(f"{architecture} {precision}: largest difference {apart:.1e} of the largest output")
            worst = max(worst, apart)
    assert worst < 1e-4, "the outputs differ"


main()
