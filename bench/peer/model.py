"""The model that Baekji trains, in idiomatic PyTorch: RMSNorm, RoPE, grouped-query attention, SwiGLU, untied head.

Dims: B sequences, T positions, C hidden, H query heads, K key/value heads, D head width, F inner width, V vocabulary.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    context: int
    batch: int
    head_dim: int = 0  # 0: hidden / heads

    @property
    def tokens(self):
        return self.batch * self.context

    @property
    def head_width(self):
        return self.head_dim or self.hidden // self.heads

    def flops_per_token(self):
        """Counted as Baekji counts: 6 per multiplied parameter (head included, look-up not) and causal attention."""
        layer = self.hidden * self.head_width * (2 * self.heads + 2 * self.kv_heads) + 3 * self.hidden * self.ffn
        attention = self.layers * self.heads * self.head_width * self.context
        return 6 * (self.layers * layer + self.vocab * self.hidden) + 6 * attention


SHAPES = {
    "10M": Shape(hidden=256, layers=8, heads=8, kv_heads=8, ffn=688, vocab=4096, context=256, batch=16),
    "50M": Shape(hidden=512, layers=12, heads=8, kv_heads=8, ffn=1376, vocab=8192, context=512, batch=8),
}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, self.gain.shape, self.gain.to(x.dtype), 1e-5)


def rotate(x_BHTD, cos_TE, sin_TE):
    """Rotary position embedding on half-split pairs."""
    a, b = x_BHTD.chunk(2, dim=-1)
    return torch.cat((a * cos_TE - b * sin_TE, b * cos_TE + a * sin_TE), dim=-1)


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads, self.head_width = s.heads, s.kv_heads, s.head_width
        self.attention_norm = RMSNorm(s.hidden)
        self.qkv = nn.Linear(s.hidden, (s.heads + 2 * s.kv_heads) * self.head_width, bias=False)
        self.output = nn.Linear(s.heads * self.head_width, s.hidden, bias=False)
        self.ffn_norm = RMSNorm(s.hidden)
        self.gate_up = nn.Linear(s.hidden, 2 * s.ffn, bias=False)
        self.down = nn.Linear(s.ffn, s.hidden, bias=False)

    def forward(self, x_BTC, cos_TE, sin_TE):
        B, T, _ = x_BTC.shape
        qkv = self.qkv(self.attention_norm(x_BTC)).view(B, T, -1, self.head_width).transpose(1, 2)
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        cos_TE, sin_TE = cos_TE.to(q.dtype), sin_TE.to(q.dtype)
        y = F.scaled_dot_product_attention(rotate(q, cos_TE, sin_TE), rotate(k, cos_TE, sin_TE), v, is_causal=True,
                                           enable_gqa=self.heads != self.kv_heads)
        x_BTC = x_BTC + self.output(y.transpose(1, 2).reshape(B, T, -1))
        gate, up = self.gate_up(self.ffn_norm(x_BTC)).chunk(2, dim=-1)
        return x_BTC + self.down(F.silu(gate) * up)


class Model(nn.Module):
    """`residual`: type of the residual stream; None: whatever the embedding gives, which autocast leaves in fp32."""

    def __init__(self, s, residual=None):
        super().__init__()
        self.residual = residual
        self.embedding = nn.Embedding(s.vocab, s.hidden)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.final_norm = RMSNorm(s.hidden)
        self.head = nn.Linear(s.hidden, s.vocab, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        angle = torch.outer(torch.arange(s.context), 10000.0 ** (-torch.arange(0, s.head_width, 2) / s.head_width))
        self.register_buffer("cos_TE", angle.cos(), persistent=False)
        self.register_buffer("sin_TE", angle.sin(), persistent=False)

    def forward(self, token_BT, target_BT):
        x_BTC = self.embedding(token_BT)
        if self.residual is not None:
            x_BTC = x_BTC.to(self.residual)
        for block in self.blocks:
            x_BTC = block(x_BTC, self.cos_TE, self.sin_TE)
        logits = self.head(self.final_norm(x_BTC))
        return F.cross_entropy(logits.flatten(0, 1).float(), target_BT.flatten())
