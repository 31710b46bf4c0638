"""all-MiniLM-L6-v2 (a BERT of six layers), without transformers, whose import takes longer than all else of a policy's
start."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTH: Final = 384
_NUM_LAYERS: Final = 6
_NUM_HEADS: Final = 12
_VOCABULARY: Final = 30522
_MAX_TOKENS: Final = 512
_EPSILON: Final = 1e-12
_NAMES: Final = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
"""Of the parts of a layer, BERT's to torch's."""


class MiniLM(nn.Module):
    """Token ids [B, L] and mask bool [B, L], True for tokens that are read -> last hidden states [B, L, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY, WIDTH)
        self.positions = nn.Embedding(_MAX_TOKENS, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, _EPSILON)
        layer = nn.TransformerEncoderLayer(
            WIDTH, _NUM_HEADS, 4 * WIDTH, activation="gelu", layer_norm_eps=_EPSILON, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _NUM_LAYERS, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids) + self.positions.weight[: ids.shape[1]] + self.kind
        return self.layers(self.norm(x), src_key_padding_mask=~mask)


def load_minilm(path: Path) -> MiniLM:
    """From a file of BERT's tensors."""
    tensors = load_file(path)
    parts = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"],
        "kind": tensors["embeddings.token_type_embeddings.weight"][0],  # a single sentence
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    for index in range(_NUM_LAYERS):
        bert, ours = f"encoder.layer.{index}", f"layers.layers.{index}"
        for kind in ("weight", "bias"):
            joined = [tensors[f"{bert}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            parts[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(joined)
            parts |= {f"{ours}.{new}.{kind}": tensors[f"{bert}.{old}.{kind}"] for old, new in _NAMES.items()}
    network = MiniLM()
    network.load_state_dict(parts)
    return network
