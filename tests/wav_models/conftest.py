"""A directory like LTX-Video's, with random networks so small that a test makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wav_models.small_checkpoint import save_small

WORDS = ("put", "the", "bowl", "on", "mat", "close", "drawer")


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint, seed 0; not to be changed."""
    directory = tmp_path_factory.mktemp("checkpoint") / "small"
    save_small(directory)
    return directory


@pytest.fixture(scope="session")
def ltx_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sub-folders vae (8 channels, statistics that are not 0 and 1), tokenizer and text_encoder (24 channels)."""
    directory = tmp_path_factory.mktemp("ltx")
    save_autoencoder(directory, seed=0)
    _save_text_encoder(directory)
    return directory


def save_autoencoder(directory: Path, seed: int, *, causal: bool = True) -> None:
    """A random LTX auto-encoder of few channels in the sub-folder vae."""
    import torch
    from diffusers import AutoencoderKLLTXVideo

    torch.manual_seed(seed)
    network = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        encoder_causal=causal,
    )
    network.latents_mean.uniform_(-1.0, 1.0)
    network.latents_std.uniform_(0.5, 2.0)
    network.save_pretrained(directory / "vae")


def _save_text_encoder(directory: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    words = {word: i for i, word in enumerate(("<pad>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(directory / "tokenizer")
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(words), d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=3)
    T5EncoderModel(config).save_pretrained(directory / "text_encoder")
