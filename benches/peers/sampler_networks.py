"""The three reference sampler networks and their loss in plain PyTorch, for the peers that time them on a processor and on a GPU.

`cuda_samplers.py --vectors` holds them to recorded outputs and gradients of the reference.
"""

import torch
import torch.nn.functional as F
from torch import nn


class SwiGLU(nn.Module):
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
    def __init__(self, hidden_dims):
        super().__init__()
        self.mlp = SwiGLU(1, hidden_dims, 1)
        self.truncation_scale = nn.Parameter(torch.tensor(1.0))
        self.truncation_threshold = nn.Parameter(torch.tensor(10.0))

    def forward(self, logits):
        ell = F.log_softmax(logits, dim=-1)
        modified = ell + self.mlp(ell.unsqueeze(-1)).squeeze(-1)
        return truncate(modified, self.truncation_scale, self.truncation_threshold)


class SimpleDistributionAwareTransform(nn.Module):
    def __init__(self, hidden_dims, use_dynamic_truncation):
        super().__init__()
        self.local_mlp = nn.Sequential(nn.Linear(1, hidden_dims), nn.SiLU())
        self.global_mlp = SwiGLU(hidden_dims + 2, hidden_dims, 1)
        self.dynamic = use_dynamic_truncation
        if self.dynamic:
            self.truncation_head = nn.Linear(2, 2)
        else:
            self.truncation_params = nn.Parameter(torch.tensor([0.5413, 10.0]))

    def forward(self, logits):
        ell = F.log_softmax(logits, dim=-1)
        with torch.no_grad():
            statistics = torch.stack([ell.max(-1).values, -(ell.exp() * ell).sum(-1)], dim=-1)
        local = self.local_mlp(ell.unsqueeze(-1))
        both = torch.cat([local, statistics.unsqueeze(-2).expand(*local.shape[:-1], 2)], dim=-1)
        modified = ell + self.global_mlp(both).squeeze(-1)
        raw = self.truncation_head(statistics) if self.dynamic else self.truncation_params.expand_as(statistics)
        scale, threshold = F.softplus(raw).unsqueeze(-2).unbind(-1)
        return truncate(modified, scale, threshold)


class LinearAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.o_proj = nn.Linear(width, width)

    def forward(self, q, k, v):
        batch, tokens, width = q.shape
        q, k, v = (t.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2) for t in (q, k, v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        context = k.transpose(-2, -1) @ v
        denominator = q @ k.sum(dim=-2).unsqueeze(-1) + 1e-6
        return self.o_proj((q @ context / denominator).transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width, d_ff, heads):
        super().__init__()
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.attention = LinearAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = SwiGLU(width, d_ff, width)

    def forward(self, x):
        x = self.norm1(x + self.attention(*self.qkv_proj(x).chunk(3, dim=-1)))
        return self.norm2(x + self.ffn(x))


class Encoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = SwiGLU(1, width, width)

    def forward(self, x):
        return self.mlp(x)


class SamplingNetwork(nn.Module):
    def __init__(self, d_model, d_ff, n_blocks, n_heads, scale):
        super().__init__()
        self.encoder = Encoder(d_model)
        self.blocks = nn.ModuleList(Block(d_model, d_ff, n_heads) for _ in range(n_blocks))
        self.transformation_head = SwiGLU(2 * d_model, d_model, 1)
        self.scaling_head = SwiGLU(d_model, d_model // 2, 1) if scale else None
        self.truncation_head = SwiGLU(d_model, d_model // 2, 2)

    def forward(self, logits):
        ell = F.log_softmax(logits, dim=-1)
        x = self.encoder(ell.unsqueeze(-1))
        for block in self.blocks:
            x = block(x)
        mean = x.mean(dim=-2)
        both = torch.cat([x, mean.unsqueeze(-2).expand_as(x)], dim=-1)
        factor = self.scaling_head(mean) if self.scaling_head is not None else torch.ones_like(mean[..., :1])
        modified = F.softplus(factor) * (ell + self.transformation_head(both).squeeze(-1))
        scale, threshold = F.softplus(self.truncation_head(mean)).unsqueeze(-2).unbind(-1)
        return truncate(modified, scale, threshold)


NETWORKS = {
    "LocalProbabilityTransform": (LocalProbabilityTransform, {"hidden_dims": 32}),
    "SimpleDistributionAwareTransform": (
        SimpleDistributionAwareTransform,
        {"hidden_dims": 32, "use_dynamic_truncation": True},
    ),
    "SamplingNetwork": (
        SamplingNetwork,
        {"d_model": 32, "d_ff": 64, "n_blocks": 4, "n_heads": 4, "scale": True},
    ),
}


def loss_of(predicted, target, gamma):
    log_p, log_t = F.log_softmax(predicted, dim=-1), F.log_softmax(target, dim=-1)
    kept = target != float("-inf")
    kl = torch.where(kept, log_t.exp() * (torch.where(kept, log_t, 0.0) - log_p), 0.0).sum(-1).mean()
    penalty = torch.where(kept, 0.0, log_p.exp()).sum(-1).mean()
    return kl + gamma * penalty
