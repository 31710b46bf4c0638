"""Transformer blocks of the video DiT and of the experts.

Both follow LTX-Video: gated self-attention, ungated cross-attention whose query is not normalised, gated feed-forward.
The action expert's two cross-attentions run side by side on the same query.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from wav_models.networks.attention import Attention, KeysValues, concatenate
from wav_models.networks.modulation import modulated_rms_norm, modulation_rows
from wav_models.networks.rope import Rope


class FeedForward(nn.Module):
    """Linear, tanh-approximated GELU, linear; four times as wide inside."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(hidden_size, 4 * hidden_size)
        self.proj_out = nn.Linear(4 * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_out(_linear_gelu(x, self.proj_in))


def _linear_gelu(x: Tensor, linear: nn.Linear) -> Tensor:
    """Linear layer and tanh-approximated GELU; without gradients on the CPU in oneDNN's single pass.

    torch's own GELU takes as long there as the matrix product before it in bfloat16, half as long in float32.
    """
    fusable = x.device.type == "cpu" and x.dtype == linear.weight.dtype
    if not fusable or torch.is_grad_enabled() or torch.compiler.is_compiling() or x.dtype not in onednn_formats():
        return functional.gelu(linear(x), approximate="tanh")
    return torch.ops.mkldnn._linear_pointwise(x, linear.weight, linear.bias, "gelu", [], "tanh")


@cache
def onednn_formats() -> frozenset[torch.dtype]:
    """What oneDNN multiplies on this processor: bfloat16 wants AVX-512."""
    if not torch.backends.mkldnn.is_available():
        return frozenset()
    half = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return frozenset({torch.float32, torch.bfloat16} if half else {torch.float32})


class VideoBlock(nn.Module):
    """One block over tokens [B, V, F, L, D]; `joint` blocks let all views of a sample attend to each other."""

    def __init__(self, hidden_size: int, heads: int, head_dim: int, text_dim: int, joint: bool) -> None:
        super().__init__()
        self.joint = joint
        self.scale_shift_table = nn.Parameter(torch.empty(6, hidden_size))
        self.attn1 = Attention(hidden_size, hidden_size, heads, head_dim)
        self.attn2 = Attention(hidden_size, text_dim, heads, head_dim)
        self.ff = FeedForward(hidden_size)

    def forward(
        self,
        hidden: Tensor,
        modulation: Tensor,
        rope: Rope,
        text: KeysValues,
        text_bias: Tensor | None,
        memory: KeysValues | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """Run the block.

        Args:
            hidden: [B, V, F, L, D].
            modulation: time and view rows that broadcast to [B, V, F, 1, 6, D].
            rope: [F, L, D / 2].
            text: attn2 keys and values, [1 or B, Lt, D].
            text_bias: [1 or B, 1, 1, Lt], or None.
            memory: self-attention keys and values of earlier frames, [1 or B, V, F_mem, L, D].

        Returns:
            The new hidden states and this block's own self-attention keys and values, [B, V, F, L, D].
        """
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation_rows(
            modulation, self.scale_shift_table, hidden.dtype
        )
        normalized = modulated_rms_norm(hidden, shift_1, scale_1)
        own = self.attn1.keys_values(normalized, rope)
        seen = own if memory is None else concatenate(memory, own, dim=2)
        attended = self.attn1(self.attn1.query(normalized, rope), self._grouped(seen))
        hidden = torch.addcmul(hidden, attended, gate_1)
        hidden = hidden + self.attn2(self.attn2.query(hidden), text, text_bias)
        fed = self.ff(modulated_rms_norm(hidden, shift_2, scale_2))
        return torch.addcmul(hidden, fed, gate_2), own

    def text_context(self, text: Tensor) -> KeysValues:
        """attn2 keys and values of projected text [B, Lt, D]."""
        return self.attn2.keys_values(text)

    def _grouped(self, context: KeysValues) -> KeysValues:
        """[B, V, F, L, D] -> one group of tokens per sample (joint) or per sample and view."""
        if self.joint:
            return KeysValues(*(x.flatten(1, 3) for x in context))
        return KeysValues(*(x.flatten(0, 1).flatten(1, 2) for x in context))


class ExpertBlock(nn.Module):
    """One block over a chunk; cross-attends to video features and, with `value_dim`, to value features."""

    def __init__(self, hidden_size: int, heads: int, head_dim: int, video_dim: int, value_dim: int | None) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(6, hidden_size))
        self.attn1 = Attention(hidden_size, hidden_size, heads, head_dim)
        self.attn2 = Attention(hidden_size, video_dim, heads, head_dim)
        self.attn3 = None if value_dim is None else Attention(hidden_size, value_dim, heads, head_dim)
        self.ff = FeedForward(hidden_size)

    def video_context(self, video_features: Tensor) -> KeysValues:
        """attn2 keys and values of video features [B, S, D_video]."""
        return self.attn2.keys_values(video_features)

    def value_context(self, value_features: Tensor) -> KeysValues:
        """attn3 keys and values of value features [B or B * R, T, Dv]."""
        if self.attn3 is None:
            raise ValueError("this expert has no attention to value features")
        return self.attn3.keys_values(value_features)

    def forward(
        self,
        hidden: Tensor,
        modulation: Tensor,
        rope: Rope,
        video: KeysValues,
        value: KeysValues | None,
    ) -> Tensor:
        """Run the block.

        Args:
            hidden: [B, R, S, D]; every draw of the R attends to itself and to the context of its sample.
            modulation: time rows that broadcast to [B, R, S, 6, D].
            rope: [S, D / 2].
            video: attn2 keys and values, [B, S_video, D].
            value: attn3 keys and values, [B or B * R, T, D]; None skips attn3.
        """
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation_rows(
            modulation, self.scale_shift_table, hidden.dtype
        )
        normalized = modulated_rms_norm(hidden, shift_1, scale_1)
        own = KeysValues(*(x.flatten(0, 1) for x in self.attn1.keys_values(normalized, rope)))
        hidden = torch.addcmul(hidden, self.attn1(self.attn1.query(normalized, rope), own), gate_1)
        cross = self.attn2(self.attn2.query(hidden), video)
        if self.attn3 is not None and value is not None:
            cross = cross + self.attn3(self.attn3.query(hidden), value)
        hidden = hidden + cross
        fed = self.ff(modulated_rms_norm(hidden, shift_2, scale_2))
        return torch.addcmul(hidden, fed, gate_2)
