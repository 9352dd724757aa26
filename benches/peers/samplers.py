"""The three reference sampler networks in PyTorch: CPU time of one row's forward pass and of one training step.

The peer of `cargo bench -p lsn-samplers`: the same shapes, logits of the same kind, one thread. Networks are dense, as PyTorch
has no evaluation on distinct values. Needs `pip install torch`; prints one JSON object per line.

    python benches/peers/samplers.py [--rows 2] [--repeats 3] [--networks SamplingNetwork]
"""

import argparse
import json
import math
import resource
import time

import torch
from sampler_networks import NETWORKS, loss_of
from torch import nn

VOCABULARY = 128_256


def cpu_ms(work, repeats):
    """Least CPU time of `repeats` runs, in milliseconds, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - start))
    return round(min(times), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2, help="rows of a training step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logits = 3.0 * torch.randn(arguments.rows, VOCABULARY)
    target = logits.masked_fill(logits < logits.amax(-1, keepdim=True) - 4.0, -math.inf)
    for name in arguments.networks:
        kind, sizes = NETWORKS[name]
        network = kind(**sizes)
        optimizer = torch.optim.AdamW(network.parameters())

        def forward():
            with torch.no_grad():
                network(logits[:1])

        def step():
            optimizer.zero_grad()
            loss_of(network(logits), target, 1.0).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        result = {
            "network": name,
            "torch": torch.__version__,
            "forward_1_row_cpu_ms": cpu_ms(forward, arguments.repeats),
            f"training_step_{arguments.rows}_rows_cpu_ms": cpu_ms(step, arguments.repeats),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
