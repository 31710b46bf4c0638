"""Attention with normalised queries and keys, split so that keys and values can be computed once and kept."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wav_models.networks.norm import RMSNorm
from wav_models.networks.rope import Rope, apply_rope


class KeysValues(NamedTuple):
    """Projected context of one attention layer, shape [*, S, heads * head_dim] each; heads are not split yet."""

    key: Tensor
    value: Tensor


class Attention(nn.Module):
    """Multi-head attention; RMS norm of queries and keys runs across all heads, as in LTX-Video."""

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.norm_q = RMSNorm(inner)
        self.norm_k = RMSNorm(inner)
        self.to_q = nn.Linear(query_dim, inner)
        self.to_k = nn.Linear(context_dim, inner)
        self.to_v = nn.Linear(context_dim, inner)
        self.to_out = nn.Linear(inner, query_dim)

    def query(self, hidden: Tensor, rope: Rope | None = None) -> Tensor:
        query = self.norm_q(self.to_q(hidden))
        return query if rope is None else apply_rope(query, rope)

    def keys_values(self, context: Tensor, rope: Rope | None = None) -> KeysValues:
        key = self.norm_k(self.to_k(context))
        return KeysValues(key if rope is None else apply_rope(key, rope), self.to_v(context))

    def forward(self, query: Tensor, context: KeysValues, bias: Tensor | None = None) -> Tensor:
        """Attend; the output has the shape of `query`.

        Args:
            query: [*, inner]; its leading rows belong to the contexts in order, so several rows that share one
                context (views of a sample, futures of an instruction, draws of a future) extend the query length and
                the context is never copied.
            context: keys and values, [G, S, inner]; G divides the number of query rows.
            bias: added to the logits, [G, 1, 1, S].
        """
        key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in context)
        folded = query.reshape(key.shape[0], -1, self.heads, key.shape[-1]).transpose(1, 2)
        attended = _attention(folded, key, value, bias)
        return self.to_out(attended.transpose(1, 2).reshape(query.shape))


def _attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Scaled dot-product attention over [G, heads, S, head_dim]."""
    if query.requires_grad and query.dtype == torch.bfloat16 and query.device.type == "cpu":
        # torch's fused attention has a bfloat16 gradient on the CPU that is many times slower than these products.
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return torch.softmax(logits if bias is None else logits + bias, dim=-1).to(value.dtype) @ value
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def concatenate(first: KeysValues, second: KeysValues, dim: int) -> KeysValues:
    """Join two contexts along token axis `dim`; a `first` of batch 1 is shared by every row of `second`."""
    return KeysValues(
        *(torch.cat([a.expand(b.shape[0], *a.shape[1:]), b], dim) for a, b in zip(first, second, strict=True))
    )
