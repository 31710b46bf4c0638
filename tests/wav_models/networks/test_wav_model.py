"""Names, shapes and sizes of the presets; initial weights; gradients; precision."""

from __future__ import annotations

import csv
import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.wav_models.networks.small_model import BASE, Inputs
from wav_models.networks import norm, rope
from wav_models.networks.tensor_names import official_name, our_name
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import WAV_2B, WAV_TINY

TENSOR_NAMES = Path(__file__).parents[2] / "data" / "published_tensors.csv.gz"
NUM_PARAMETERS = {"video": 1_948_569_728, "value": 163_799_569, "action": 193_256_988}
SHA256_OF_NAMES_AND_SHAPES = "5b31a52e502513414f990c291f619b1bd415fbf8eba0b46da76ca4e5796f210e"


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = WAVModel(WAV_2B)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_wav_2b_has_the_published_tensors(shapes: dict[str, tuple[int, ...]]) -> None:
    """2,305,626,285 parameters under the published names; the digest is of sorted "name,AxB" lines."""
    for part, expected in NUM_PARAMETERS.items():
        actual = sum(torch.Size(shape).numel() for name, shape in shapes.items() if name.startswith(part + "."))
        assert actual == expected, part
    lines = sorted(f"{official_name(name)},{'x'.join(map(str, shape))}" for name, shape in shapes.items())
    assert len(lines) == 2420
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == SHA256_OF_NAMES_AND_SHAPES


def test_wav_2b_equals_the_published_list(shapes: dict[str, tuple[int, ...]]) -> None:
    with gzip.open(TENSOR_NAMES, "rt", encoding="utf-8") as file:
        published = {row["name"]: tuple(map(int, row["shape"].split("x"))) for row in csv.DictReader(file)}
    assert {official_name(name): shape for name, shape in shapes.items()} == published


def test_names_map_one_to_one(shapes: dict[str, tuple[int, ...]]) -> None:
    assert all(our_name(official_name(name)) == name for name in shapes)
    assert len({official_name(name) for name in shapes}) == len(shapes)


@pytest.mark.usefixtures("gradients")
def test_fresh_model_predicts_zero_and_every_tensor_learns() -> None:
    """After one step on the last projections every parameter has a gradient."""
    torch.manual_seed(7)
    model = WAVModel(replace(BASE, video=replace(BASE.video, causal_memory=True)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        outputs = _run(model)
        if step == 0:
            assert all((x == 0).all() for x in outputs)
        loss = sum(functional.mse_loss(x, torch.ones_like(x)) for x in outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Nothing reads what the last memory block computes after its keys and values, except the experts, who do.
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def _run(model: WAVModel) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    text = model.video.encode_text(randn(2, 6, 12), torch.ones(2, 6, dtype=torch.bool))
    video = model.video(randn(2, 3, 3, 6, 8), torch.tensor([0.2, 0.7]), text, randn(2, 3, 2, 6, 8))
    value = model.value(randn(2, 3, 7, 17), torch.rand(2, 3, generator=generator), model.value.context(video.features))
    context = model.action.context(video.features, tuple(x[:, 0] for x in value.features))
    action = model.action(randn(2, 3, 5, 28), torch.rand(2, 3, generator=generator), randn(2, 1, 28), context)
    return video.velocity, value.velocity, action.velocity


@pytest.mark.usefixtures("gradients")
def test_bfloat16_training_follows_float32(causal_model: WAVModel) -> None:
    """Autocast takes other code paths (norm, attention): outputs and gradients stay within its precision."""
    results = {}
    for bf16 in (False, True):
        causal_model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = [x.float() for x in _run(causal_model)]
        sum(x.square().mean() for x in outputs).backward()
        results[bf16] = (*outputs, *(p.grad.flatten().clone() for p in causal_model.parameters()))
    causal_model.zero_grad()
    for exact, rounded in zip(results[False], results[True], strict=True):
        assert torch.linalg.vector_norm(exact - rounded) <= 0.06 * torch.linalg.vector_norm(exact) + 1e-3


@pytest.mark.usefixtures("gradients")
@pytest.mark.parametrize("weighted", [False, True])
def test_norm_and_its_gradient(weighted: bool) -> None:
    """Against torch's own norm, and against finite differences."""
    x = torch.randn(3, 2, 6, dtype=torch.float64, requires_grad=True)
    weight = (torch.randn(6, dtype=torch.float64, requires_grad=True),) if weighted else ()
    expected = functional.rms_norm(x, (6,), *weight, eps=1e-5)
    torch.testing.assert_close(norm.rms_norm(x, 1e-5, *weight), expected)
    assert torch.autograd.gradcheck(lambda x, *w: norm.rms_norm(x, 1e-5, *w), (x, *weight))


def test_rope_in_graphs_equals_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rope.video_rope(3, (2, 2), (1.0, 32.0, 32.0), 32)
    x = torch.randn(2, 3, 4, 32)
    eager = rope.apply_rope(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rope.apply_rope(x, table), eager, rtol=0.0, atol=1e-6)


def test_wav_tiny_fits_its_checkpoint() -> None:
    """At most 40 MB in float32 beside the auto-encoder."""
    model: nn.Module = WAVModel(WAV_TINY)
    assert sum(p.numel() for p in model.parameters()) * 4 < 36e6


def test_static_graph_export(causal_model: WAVModel, inputs: Inputs) -> None:
    """The future pass has no data-dependent control flow: torch.export takes it whole."""
    video = causal_model.video
    text = video.encode_text(inputs.text_embedding, inputs.text_mask)
    arguments = inputs.futures, inputs.flow_time, text, video.encode_memory(inputs.memory, text)
    program = torch.export.export(video, arguments)
    torch.testing.assert_close(program.module()(*arguments).velocity, video(*arguments).velocity, rtol=0.0, atol=1e-5)
