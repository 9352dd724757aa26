"""The three reference sampler networks in plain PyTorch on a CUDA device, beside `cargo bench -p lsn-samplers --bench cuda`.

    python3 benches/peers/cuda_samplers.py [--vectors tests/vectors/samplers] [--compile]

Prints the time of one row's forward pass at V = 128,256 and of one training step of 12 rows (forward, loss, backward, clipping,
AdamW), in f32 as the reference runs: the median of many calls by CUDA events after warm-up, and by wall time from a synchronised
device to a synchronised device. With `--vectors` the networks are first held to recorded outputs and gradients of the reference.
"""

import argparse
import json
import pathlib
import time

import torch
from sampler_networks import NETWORKS, loss_of
from torch import nn

VOCABULARY = 128_256
ROWS = 12


def check(folder):
    """Largest relative deviation of outputs and of gradients from the recorded ones, in f64."""
    from safetensors.torch import load_file

    index = json.loads((folder / "index.json").read_text())
    output, gradient = 0.0, 0.0
    for case in index["cases"]:
        tensors = load_file(folder / case["file"])
        network = NETWORKS[case["architecture"]][0](**case["config"]).double()
        named = {name.removeprefix("param."): value for name, value in tensors.items() if name.startswith("param.")}
        network.load_state_dict({name: value.double() for name, value in named.items()})
        predicted = network(tensors["logits"].double())
        expected = tensors["output64"]
        output = max(output, ((predicted - expected).abs().max() / expected.abs().max().clamp(min=1)).item())
        loss_of(predicted, tensors["target"].double(), case["gamma"]).backward()
        pairs = [(p.grad, tensors[f"grad64.{name}"].double()) for name, p in network.named_parameters()]
        scale = max(expected.abs().max().item() for _, expected in pairs)
        gradient = max(gradient, max((ours - expected).abs().max().item() for ours, expected in pairs) / scale)
    print(f"{len(index['cases'])} recorded cases: outputs within {output:.1e}, gradients within {gradient:.1e}")
    assert output < 1e-8 and gradient < 1e-6


def measure(call, times):
    """Median of `times` calls in ms: by events, and by the wall."""
    for _ in range(10):
        call()
    events, walls = [], []
    for _ in range(times):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        began = time.perf_counter()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        walls.append((time.perf_counter() - began) * 1e3)
        events.append(start.elapsed_time(end))
    middle = times // 2
    return sorted(events)[middle], sorted(walls)[middle]


def logits(rows, seed):
    generator = torch.Generator(device="cuda").manual_seed(seed)
    return 3.0 * torch.randn(rows, VOCABULARY, device="cuda", generator=generator)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--vectors", type=pathlib.Path)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.vectors:
        check(options.vectors)
    mode = "torch.compile" if options.compile else "eager"
    print(f"PyTorch {torch.__version__} {mode} on {torch.cuda.get_device_name()}, median in ms: events, wall")
    for name, (kind, arguments) in NETWORKS.items():
        torch.manual_seed(0)
        network = kind(**arguments).cuda()
        run = torch.compile(network) if options.compile else network
        rows = [logits(1, seed) for seed in range(4)]
        at = 0

        def forward():
            nonlocal at
            at += 1
            with torch.no_grad():
                return run(rows[at % 4])

        event, wall = measure(forward, 200)
        print(f"{name:33} forward, 1 row: {event:.3f}, {wall:.3f}", flush=True)
        raw = logits(ROWS, 9)
        target = torch.where(raw < raw.max(-1, keepdim=True).values - 4.0, float("-inf"), raw)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        whole = torch.compile(lambda raw, target: loss_of(network(raw), target, 1.0)) if options.compile else None

        def step():
            optimizer.zero_grad()
            loss = whole(raw, target) if whole else loss_of(network(raw), target, 1.0)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        event, wall = measure(step, 30)
        memory = torch.cuda.max_memory_allocated() / 2**30
        print(f"{name:33} step of {ROWS} rows: {event:.3f}, {wall:.3f}; peak {memory:.1f} GiB", flush=True)
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
