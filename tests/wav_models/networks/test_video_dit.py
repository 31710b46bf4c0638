"""The video DiT against diffusers' LTX transformer and against plain attention with a mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.wav_models.networks.small_model import BASE, Inputs, randomize
from wav_models.networks.modulation import TimeRows
from wav_models.networks.tensor_names import official_name
from wav_models.networks.video_dit import MemoryPrefix, VideoDiT
from wav_models.networks.wav_model import WAVModel

SPLIT = BASE.num_memory_frames


def test_equals_diffusers_with_one_view() -> None:
    """Names, shapes and outputs of `LTXVideoTransformer3DModel`, with a time per token and padded text."""
    from diffusers import LTXVideoTransformer3DModel

    video = replace(BASE.video, use_view_embed=False)
    config = replace(BASE, video=video)
    torch.manual_seed(3)
    ours = VideoDiT(config)
    randomize(ours)
    theirs = LTXVideoTransformer3DModel(
        in_channels=video.in_channels,
        out_channels=video.out_channels,
        num_attention_heads=video.num_attention_heads,
        attention_head_dim=video.attention_head_dim,
        cross_attention_dim=video.cross_attention_dim,
        num_layers=video.num_layers,
        caption_channels=video.caption_channels,
    )
    theirs.load_state_dict({official_name(f"video.{name}"): tensor for name, tensor in ours.state_dict().items()})

    memory, future = torch.randn(2, 1, SPLIT, 6, 8), torch.randn(2, 1, 3, 6, 8)
    text, mask = torch.randn(2, 5, 12), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    flow_time = torch.tensor([0.25, 0.75])
    timestep = torch.cat([torch.zeros(2, SPLIT * 6), (1000 * (1 - flow_time))[:, None].expand(2, 3 * 6)], dim=1)
    expected = theirs(
        torch.cat([memory, future], dim=2).flatten(1, 3),
        encoder_hidden_states=text,
        timestep=timestep,
        encoder_attention_mask=mask,
        num_frames=SPLIT + 3,
        height=2,
        width=3,
        rope_interpolation_scale=(8 / 30, 32, 32),
    ).sample
    actual = ours(future, flow_time, ours.encode_text(text, mask), memory)
    torch.testing.assert_close(
        -actual.velocity, expected.view(2, 1, SPLIT + 3, 6, 8)[:, :, SPLIT:], rtol=0.0, atol=1e-4
    )


def _rows_of_views(model: VideoDiT, flow_time: Tensor) -> TimeRows:
    """Of the flow time, with what every view adds of its own."""
    rows, embeddings = model.time_embed(flow_time[:, None, None, None]), model.view_embed
    modulations = [model.view_ada(functional.silu(embedding)).view(6, -1) for embedding in embeddings]
    modulation = rows.modulation + torch.stack(modulations)[:, None, None]
    return TimeRows(modulation, rows.embedded + embeddings[:, None, None])


def _masked_reference(model: VideoDiT, inputs: Inputs, future: Tensor, flow_time: Tensor) -> tuple[Tensor, Tensor]:
    """One sequence of all tokens with an explicit mask: head by head, nothing cached. Returns velocity and features."""
    latents = torch.cat([inputs.memory, future], dim=2)[0]
    views, frames, tokens = latents.shape[:3]
    clean, noisy = (_rows_of_views(model, t) for t in (torch.ones(1), flow_time))
    rows = torch.cat(
        [clean.modulation.expand(-1, -1, SPLIT, -1, -1, -1), noisy.modulation.expand(-1, -1, 3, -1, -1, -1)], 2
    )
    hidden = model.proj_in(latents)
    view = torch.arange(views).repeat_interleave(frames * tokens)
    is_future = (torch.arange(frames) >= SPLIT).repeat_interleave(tokens).repeat(views)
    projected = model.caption_projection(inputs.text_embedding[0][inputs.text_mask[0]])

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, allowed: Tensor | None) -> Tensor:
        out = []
        for a, b, c in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
            logits = a @ b.T / a.shape[-1] ** 0.5
            if allowed is not None:
                logits = logits.masked_fill(~allowed, -torch.inf)
            out.append(logits.softmax(-1) @ c)
        return torch.cat(out, -1)

    def turn(x: Tensor) -> Tensor:
        cos, sin = (t.flatten(0, 1).repeat(views, 1) for t in (model.rope_cos, model.rope_sin))
        out = torch.empty_like(x)
        out[:, 0::2] = x[:, 0::2] * cos - x[:, 1::2] * sin
        out[:, 1::2] = x[:, 1::2] * cos + x[:, 0::2] * sin
        return out

    def rms(x: Tensor, eps: float) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()

    for block in model.transformer_blocks:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (rows[0] + block.scale_shift_table).unbind(-2)
        normalized = (rms(hidden, 1e-6) * (1 + scale_1) + shift_1).flatten(0, 2)
        q, k = (
            turn(rms(to(normalized), 1e-5) * norm.weight)
            for to, norm in ((block.attn1.to_q, block.attn1.norm_q), (block.attn1.to_k, block.attn1.norm_k))
        )
        allowed = is_future[:, None] | ~is_future[None]
        if not block.joint:
            allowed = allowed & (view[:, None] == view[None])
        attended = attend(q, k, block.attn1.to_v(normalized), block.attn1.heads, allowed)
        hidden = hidden + block.attn1.to_out(attended).view(hidden.shape) * gate_1
        q = rms(block.attn2.to_q(hidden.flatten(0, 2)), 1e-5) * block.attn2.norm_q.weight
        k = rms(block.attn2.to_k(projected), 1e-5) * block.attn2.norm_k.weight
        attended = attend(q, k, block.attn2.to_v(projected), block.attn2.heads, None)
        hidden = hidden + block.attn2.to_out(attended).view(hidden.shape)
        hidden = hidden + block.ff(rms(hidden, 1e-6) * (1 + scale_2) + shift_2) * gate_2
    return model._head(hidden[None, :, SPLIT:], noisy), hidden


def test_causal_memory_equals_masked_attention(causal_model: WAVModel, inputs: Inputs) -> None:
    model = causal_model.video
    text = model.encode_text(inputs.text_embedding, inputs.text_mask)
    prefix = model.encode_memory(inputs.memory, text)
    output = model(inputs.futures, inputs.flow_time, text, prefix)
    for m in range(len(inputs.futures)):
        velocity, hidden = _masked_reference(model, inputs, inputs.futures[m : m + 1], inputs.flow_time[m : m + 1])
        torch.testing.assert_close(output.velocity[m : m + 1], velocity, rtol=0.0, atol=1e-5)
        one = output.features.select(m)
        torch.testing.assert_close(one.memory[-1], hidden[:, :SPLIT].flatten(0, 2)[None], rtol=0.0, atol=1e-5)
        torch.testing.assert_close(one.future[-1], hidden[:, SPLIT:].flatten(0, 2)[None], rtol=0.0, atol=1e-5)


def test_memory_does_not_see_the_future(causal_model: WAVModel, bidirectional_model: WAVModel, inputs: Inputs) -> None:
    for model, sees in ((causal_model.video, False), (bidirectional_model.video, True)):
        text = model.encode_text(inputs.text_embedding, inputs.text_mask)
        a, b = (model(inputs.futures[m : m + 1], inputs.flow_time[:1], text, inputs.memory) for m in (0, 1))
        assert torch.equal(a.features.memory[-1], b.features.memory[-1]) is not sees


@pytest.mark.parametrize("form", ["causal_model", "bidirectional_model"])
def test_shared_text_memory_and_time_equal_copies(form: str, inputs: Inputs, request: pytest.FixtureRequest) -> None:
    """Batch 1 of text, memory and time serves all futures; copies per future change nothing."""
    model = request.getfixturevalue(form).video
    time = torch.tensor([0.4])
    shared_text = model.encode_text(inputs.text_embedding, inputs.text_mask)
    shared = model(inputs.futures, time, shared_text, inputs.memory)
    copied_text = model.encode_text(inputs.text_embedding.expand(3, -1, -1), inputs.text_mask.expand(3, -1))
    memory = inputs.memory.expand(3, -1, -1, -1, -1)
    copied = model(inputs.futures, time.expand(3), copied_text, memory)
    torch.testing.assert_close(shared.velocity, copied.velocity, rtol=0.0, atol=1e-5)
    for m in range(3):
        one, other = shared.features.select(m), copied.features.select(m)
        for x, y in zip((*one.memory, *one.future), (*other.memory, *other.future), strict=True):
            torch.testing.assert_close(x, y, rtol=0.0, atol=1e-5)


def test_memory_prefix_equals_memory_latents(causal_model: WAVModel, inputs: Inputs) -> None:
    model = causal_model.video
    text = model.encode_text(inputs.text_embedding, inputs.text_mask)
    prefix = model.encode_memory(inputs.memory, text)
    cached = model(inputs.futures, inputs.flow_time, text, prefix)
    uncached = model(inputs.futures, inputs.flow_time, text, inputs.memory.expand(3, -1, -1, -1, -1))
    torch.testing.assert_close(cached.velocity, uncached.velocity, rtol=0.0, atol=1e-5)


def test_padding_text_changes_nothing(causal_model: WAVModel, inputs: Inputs) -> None:
    model = causal_model.video
    changed = torch.where(inputs.text_mask[..., None], inputs.text_embedding, 100.0)
    outputs = [
        model(inputs.futures, inputs.flow_time, model.encode_text(text, inputs.text_mask), inputs.memory).velocity
        for text in (inputs.text_embedding, changed)
    ]
    assert torch.equal(*outputs)


def test_wrong_shapes_are_named(causal_model: WAVModel, bidirectional_model: WAVModel, inputs: Inputs) -> None:
    text = causal_model.video.encode_text(inputs.text_embedding, inputs.text_mask)
    time = inputs.flow_time
    with pytest.raises(ValueError, match=r"future_latents has shape \(3, 2, 3, 6, 8\); expected \[B, 3, 3, 6, 8\]"):
        causal_model.video(inputs.futures[:, :2], time, text, inputs.memory)
    with pytest.raises(ValueError, match="memory_latents has shape"):
        causal_model.video(inputs.futures, time, text, inputs.futures)
    with pytest.raises(ValueError, match="takes memory latents, not a MemoryPrefix"):
        bidirectional_model.video(inputs.futures, time, text, MemoryPrefix((), ()))
    with pytest.raises(ValueError, match="causal_memory"):
        bidirectional_model.video.encode_memory(inputs.memory, text)


@pytest.mark.parametrize("form", ["causal_model", "bidirectional_model"])
def test_views_see_each_other_in_every_third_block(form: str, request: pytest.FixtureRequest) -> None:
    """What one camera is shown reaches the velocities of the others, by blocks 0, 3, ... and by no other."""
    model = request.getfixturevalue(form).video
    generator = torch.Generator().manual_seed(2)
    text = model.encode_text(torch.randn(1, 6, 12, generator=generator), torch.ones(1, 6, dtype=torch.bool))
    memory = torch.randn(1, 3, SPLIT, 6, 8, generator=generator)
    future = torch.randn(1, 3, 3, 6, 8, generator=generator)
    head_changed = future.clone()
    head_changed[:, 0] += 1.0
    first, second = (model(x, torch.tensor([0.4]), text, memory) for x in (future, head_changed))
    assert (first.velocity[:, 1:] - second.velocity[:, 1:]).abs().amax(dim=(0, 2, 3, 4)).min() > 1e-3
    rows, rope = model._time_rows(torch.tensor([0.4])), model._rope(SPLIT, None)
    for index, block in enumerate(model.transformer_blocks):
        hidden = torch.randn(1, 3, 3, 6, model.proj_in.out_features, generator=generator)
        changed = hidden.clone()
        changed[:, 0] += 1.0
        outputs = [block(x, rows.modulation, rope, text.keys_values[index], text.bias)[0] for x in (hidden, changed)]
        assert torch.equal(outputs[0][:, 1:], outputs[1][:, 1:]) is (index % 3 != 0)
