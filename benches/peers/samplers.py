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
from torch import nn
from torch.nn import functional as F

VOCABULARY = 128_256


class SwiGlu(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        width = 2 * hidden // 3
        self.gate_proj = nn.Linear(inputs, width)
        self.up_proj = nn.Linear(inputs, width)
        self.down_proj = nn.Linear(width, outputs)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


def truncate(modified, scale, threshold):
    return modified + F.logsigmoid(modified * scale + threshold)


class LocalProbabilityTransform(nn.Module):
    def __init__(self, hidden_dims=32):
        super().__init__()
        self.mlp = SwiGlu(1, hidden_dims, 1)
        self.truncation_scale = nn.Parameter(torch.tensor(1.0))
        self.truncation_threshold = nn.Parameter(torch.tensor(10.0))

    def forward(self, logits):
        ell = logits.log_softmax(-1)
        modified = ell + self.mlp(ell.unsqueeze(-1)).squeeze(-1)
        return truncate(modified, self.truncation_scale, self.truncation_threshold)


class SimpleDistributionAwareTransform(nn.Module):
    def __init__(self, hidden_dims=32):
        super().__init__()
        self.local_mlp = nn.Sequential(nn.Linear(1, hidden_dims), nn.SiLU())
        self.global_mlp = SwiGlu(hidden_dims + 2, hidden_dims, 1)
        self.truncation_head = nn.Linear(2, 2)

    def forward(self, logits):
        ell = logits.log_softmax(-1)
        with torch.no_grad():
            entropy = -(ell.exp() * ell).sum(-1)
            statistics = torch.stack([ell.amax(-1), entropy], -1)
        local = self.local_mlp(ell.unsqueeze(-1))
        context = statistics.unsqueeze(-2).expand(*ell.shape, 2)
        modified = ell + self.global_mlp(torch.cat([local, context], -1)).squeeze(-1)
        scale, threshold = F.softplus(self.truncation_head(statistics)).unsqueeze(-2).unbind(-1)
        return truncate(modified, scale, threshold)


class Block(nn.Module):
    def __init__(self, width, hidden, heads):
        super().__init__()
        self.heads = heads
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.o_proj = nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ffn = SwiGlu(width, hidden, width)

    def forward(self, x):
        rows, tokens, width = x.shape
        split = self.qkv_proj(x).view(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = F.elu(split[0]) + 1, F.elu(split[1]) + 1, split[2]
        numerator = queries @ (keys.transpose(-1, -2) @ values)
        denominator = queries @ keys.sum(-2).unsqueeze(-1) + 1e-6
        attended = (numerator / denominator).transpose(1, 2).reshape(rows, tokens, width)
        x = self.norm1(x + self.o_proj(attended))
        return self.norm2(x + self.ffn(x))


class SamplingNetwork(nn.Module):
    def __init__(self, width=32, hidden=64, blocks=4, heads=4):
        super().__init__()
        self.encoder = SwiGlu(1, width, width)
        self.blocks = nn.ModuleList(Block(width, hidden, heads) for _ in range(blocks))
        self.transformation_head = SwiGlu(2 * width, width, 1)
        self.scaling_head = SwiGlu(width, width // 2, 1)
        self.truncation_head = SwiGlu(width, width // 2, 2)

    def forward(self, logits):
        ell = logits.log_softmax(-1)
        x = self.encoder(ell.unsqueeze(-1))
        for block in self.blocks:
            x = block(x)
        mean = x.mean(-2)
        both = torch.cat([x, mean.unsqueeze(-2).expand_as(x)], -1)
        factor = F.softplus(self.scaling_head(mean))
        modified = factor * (ell + self.transformation_head(both).squeeze(-1))
        scale, threshold = F.softplus(self.truncation_head(mean)).unsqueeze(-2).unbind(-1)
        return truncate(modified, scale, threshold)


def loss(predicted, target, gamma=1.0):
    removed = target == -math.inf
    log_p, log_t = predicted.log_softmax(-1), target.log_softmax(-1)
    kl = torch.where(removed, 0.0, log_t.exp() * (torch.where(removed, 0.0, log_t) - log_p)).sum(-1)
    penalty = torch.where(removed, log_p.exp(), 0.0).sum(-1)
    return kl.mean() + gamma * penalty.mean()


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
    networks = [LocalProbabilityTransform, SimpleDistributionAwareTransform, SamplingNetwork]
    names = [network.__name__ for network in networks]
    parser.add_argument("--networks", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logits = 3.0 * torch.randn(arguments.rows, VOCABULARY)
    target = logits.masked_fill(logits < logits.amax(-1, keepdim=True) - 4.0, -math.inf)
    for network in (network() for network in networks if network.__name__ in arguments.networks):
        optimizer = torch.optim.AdamW(network.parameters())

        def forward():
            with torch.no_grad():
                network(logits[:1])

        def step():
            optimizer.zero_grad()
            loss(network(logits), target).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        result = {
            "network": type(network).__name__,
            "torch": torch.__version__,
            "forward_1_row_cpu_ms": cpu_ms(forward, arguments.repeats),
            f"training_step_{arguments.rows}_rows_cpu_ms": cpu_ms(step, arguments.repeats),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
