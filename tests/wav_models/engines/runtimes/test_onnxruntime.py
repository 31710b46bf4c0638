"""ONNX Runtime against torch, per graph and per plan; exports that do not fit are refused by name."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from tests.wav_models.engines.small_engines import SMALL, WordEncoder
from wav_models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from wav_models.data.normalization import Normalization
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.engines import parity, select
from wav_models.engines.base import Engine, EngineError, EngineOptions
from wav_models.engines.export import ExportTarget, cache_directory, export, export_directory
from wav_models.engines.manifest import MANIFEST, Measurement, PlanShape, read_manifest
from wav_models.engines.onnx.operators import ATTENTION_OPSET, OPSET
from wav_models.engines.parity import TOLERANCES, Trial, compare_graphs, compare_plans
from wav_models.engines.runtimes import load_engine
from wav_models.engines.runtimes import onnxruntime as onnx_runner
from wav_models.engines.select import make_engine
from wav_models.engines.torch_engine import TorchEngine
from wav_models.engines.weights import on_cpu
from wav_models.guidance import Guidance
from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.planner.timing import efforts, size_of
from wav_policy.cli.main import main

PLANNER = PlannerConfig(
    num_iterations=2,
    num_video_samples=3,
    num_value_samples=2,
    num_video_elites=2,
    num_value_elites=3,
    num_value_steps=2,
    num_action_steps=3,
)
SHAPE = PlanShape.of(PLANNER)
FP32 = EngineOptions(dtype="fp32")
TARGET = ExportTarget("onnxruntime", "fp32", SHAPE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Random weights: every output depends on every input."""
    directory = tmp_path_factory.mktemp("onnx") / "checkpoint"
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = WAVModel(SMALL)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape) * (
            0.6 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
        )
    statistics = (rng.normal(size=(50, *size)) for size in ((14,), (16, 14), (16, 14), (17,)))
    save_checkpoint(
        directory,
        model=model,
        autoencoder=make_autoencoder(SMALL),
        normalization=Normalization.fit(*statistics, BIMANUAL_PIPER),
        training_record={},
    )
    return load_checkpoint(directory)


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All graphs, made once."""
    directory = tmp_path_factory.mktemp("export") / "graphs"
    export(checkpoint, TARGET, directory)
    return directory


def test_an_export_can_be_read_by_another_user(exported: Path) -> None:
    assert exported.stat().st_mode & 0o777 == 0o755


def test_weights_are_copied_to_the_cpu_as_they_are(checkpoint: Checkpoint) -> None:
    copied, state = on_cpu(checkpoint.model), checkpoint.model.state_dict()
    assert copied is not checkpoint.model
    assert all(torch.equal(tensor, state[name]) for name, tensor in copied.state_dict().items())


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> TorchEngine:
    return TorchEngine(checkpoint.model, checkpoint.autoencoder, WordEncoder())


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoint, exported: Path) -> Engine:
    return load_engine(exported, checkpoint, WordEncoder())


@pytest.fixture(scope="module")
def trial(checkpoint: Checkpoint, engine: Engine) -> Trial:
    return Trial.draw(engine, checkpoint.normalization, PLANNER)


@pytest.fixture
def beside(checkpoint: Checkpoint, exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the export where engines look for it; an empty cache; no exporter, no language model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(select, "make_text_encoder", lambda *_: WordEncoder())

    def copy(_: Any, __: Any, directory: Path, **___: Any) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(exported, directory)

    monkeypatch.setattr(select, "export", copy)
    directory = export_directory(checkpoint.directory, TARGET)
    copy(None, None, directory)
    return directory


def test_every_graph_equals_torch_at_every_batch_size(reference: TorchEngine, engine: Engine, trial: Trial) -> None:
    agreements = compare_graphs(reference, engine, trial)
    assert set(agreements) >= {"text_encoder", "memory_prefix", "video_dit", "video_dit of 1", "value_dit"}
    for name, agreement in agreements.items():
        # An image may be rounded to the next grey level.
        assert agreement.max_error < (1e-3 if name == "vae_decoder" else 1e-5), name
        assert agreement.cosine > 0.9999, name


def test_guidance_that_needs_a_backward_pass_is_refused(engine: Engine, trial: Trial) -> None:
    rows = torch.zeros(16, 28)
    with pytest.raises(EngineError, match="jacobian 'network' needs a backward pass.*'unit', or engine 'torch'"):
        engine.act(None, rows, rows, rows, 2, 3, Guidance(rows, rows, "network"))  # type: ignore[arg-type]


def test_plans_choose_the_same_elites_and_actions(reference: TorchEngine, engine: Engine, trial: Trial) -> None:
    agreement = compare_plans(reference, engine, trial)
    assert agreement.elites == 1.0
    assert agreement.chunk_error < 1e-4
    assert compare_plans(reference, engine, replace(trial, planner=replace(PLANNER, score="mean"))).elites == 1.0


@pytest.mark.parametrize("planner", efforts(PLANNER)[1:], ids=size_of)
def test_a_plan_that_sheds_is_that_of_torch_too(
    reference: TorchEngine, engine: Engine, trial: Trial, planner: PlannerConfig
) -> None:
    assert reference.has_rounds_of(size_of(planner))
    assert engine.has_rounds_of(size_of(planner))
    assert not engine.has_rounds_of((2, 2))
    agreement = compare_plans(reference, engine, replace(trial, planner=planner))
    assert agreement.elites == 1.0
    assert agreement.chunk_error < 1e-4


def test_a_wrong_answer_is_noticed(engine: Engine, reference: TorchEngine, trial: Trial) -> None:
    """The comparison can fail: value samples in another order are not equal."""
    values = reference.evaluate

    class Shuffled:
        def __getattr__(self, name: str) -> Any:
            return getattr(reference, name)

        def evaluate(self, *arguments: Any) -> Tensor:
            return values(*arguments).flip(1)

    agreements = compare_graphs(engine, Shuffled(), trial)  # type: ignore[arg-type]
    assert not agreements["value_dit"].within(TOLERANCES["int8"])
    assert agreements["video_dit"].within(TOLERANCES["fp32"])


def test_threads_do_not_disturb_each_other(engine: Engine, trial: Trial) -> None:
    calls = parity.graph_calls(engine, trial)
    alone = calls["value_dit"](0)
    thread = threading.Thread(target=lambda: [calls["video_velocity"](0) for _ in range(10)])
    thread.start()
    while thread.is_alive():
        assert torch.equal(alone, calls["value_dit"](0))
    thread.join()


def test_a_picked_future_acts_as_if_imagined_alone(engine: Engine, trial: Trial) -> None:
    steps = (trial.planner.num_value_steps, trial.planner.num_action_steps)
    scene = engine.observe(engine.encode_images(trial.images), engine.encode_text("lift the bowl"))
    picked = engine.pick(engine.imagine(scene, trial.video_noise, trial.planner.video_times), 1)
    alone = engine.imagine(scene, trial.video_noise[1:2], trial.planner.video_times)
    found, expected = (
        engine.act(future, trial.state_token, trial.value_noise[0, 0], trial.action_noise, *steps)
        for future in (picked, alone)
    )
    torch.testing.assert_close(found, expected)


def test_sizes_that_were_not_exported_are_named(engine: Engine, trial: Trial) -> None:
    scene = engine.observe(engine.encode_images(trial.images), engine.encode_text("lift the bowl"))
    with pytest.raises(EngineError, match="num_video_samples is 2, but the graphs were exported for 3"):
        engine.imagine(scene, trial.video_noise[:2], (0.0,))
    with pytest.raises(EngineError, match=r"video_times is \(0.0, 0.5\), but the graphs were exported for \(0.0,\)"):
        engine.imagine(scene, trial.video_noise, (0.0, 0.5))
    futures = engine.imagine(scene, trial.video_noise, (0.0,))
    with pytest.raises(EngineError, match="num_value_samples is 4, but"):
        engine.evaluate(futures, trial.value_noise.repeat(1, 2, 1, 1), 2)
    with pytest.raises(EngineError, match="num_value_steps is 5, but"):
        engine.evaluate(futures, trial.value_noise, 5)


@pytest.mark.parametrize(
    ("precision", "opset"), [("int8", ATTENTION_OPSET), ("fp32", ATTENTION_OPSET), ("fp16", OPSET)]
)
def test_attention_is_the_standards_on_a_cpu(precision: str, opset: int) -> None:
    """Whose kernel is faster there than the runtime's own."""
    assert onnx_runner.RUNTIME.dialect(precision).opset == opset


def test_a_missing_provider_is_named(checkpoint: Checkpoint, exported: Path) -> None:
    with pytest.raises(EngineError, match="ONNX Runtime has no NoSuchProvider; available: .*CPUExecutionProvider"):
        load_engine(exported, checkpoint, WordEncoder(), EngineOptions(providers=("NoSuchProvider",)))


def test_a_provider_that_does_not_load_is_not_replaced_by_the_cpu(
    checkpoint: Checkpoint, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime says that it has CUDA, and then goes on without: as where the CUDA libraries are missing."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_runner.CUDA, onnx_runner.CPU])
    assert onnx_runner.default_providers("cuda") == (onnx_runner.CUDA, onnx_runner.CPU)
    assert onnx_runner.default_providers("cpu") == (onnx_runner.CPU,)
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(EngineError, match="has CUDA.* cannot load"),
    ):
        load_engine(exported, checkpoint, WordEncoder(), EngineOptions(providers=(onnx_runner.CUDA,)))


def test_an_export_of_another_size_is_named(
    checkpoint: Checkpoint, beside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    larger = replace(PLANNER, num_video_samples=5)
    engine = make_engine("auto", checkpoint, planner=larger, options=FP32)
    assert engine.name == "torch"
    assert "graphs for onnxruntime have other sizes than 5x2-video-0-steps-2-3" in engine.description
    assert f"onnxruntime: exported as {beside.name}, but the planner needs 5x2-video-0-steps-2-3" in caplog.text


def edited(**changes: Any) -> Callable[[Path], None]:
    """A manifest with other contents."""

    def edit(directory: Path) -> None:
        path = directory / MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def measured(**changes: Any) -> Callable[[Path], None]:
    """As if graphs had been found equal to torch, and twice as fast."""
    seconds = {"torch fp32": 2.0, "onnxruntime fp32": 1.0}
    found = Measurement("a processor", 1, 1e-6, 1.0, True, seconds)
    return edited(measured=asdict(replace(found, **changes)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edited(checkpoint_sha256="0" * 64), "made for checkpoint_sha256 000"),
        (edited(format=0), "made for format 0, but this is 7"),
        (edited(precision="fp16"), "made for precision fp16, but this is fp32"),
        (edited(runtime="onnxruntime 0.1"), "made for runtime onnxruntime 0.1, but this is"),
        (edited(shape={**SHAPE.__dict__, "num_value_samples": 9}), "made for num_value_samples 9, but this is 2"),
        (edited(graphs={"value_dit": {}}), "not a manifest of this version .*graph 'value_dit' has no file"),
        (edited(files={"../weights.bin": "0"}), "not a manifest of this version .*'../weights.bin' is no file name"),
        (edited(files=[]), "not a manifest of this version .*files is .*; a mapping fits"),
        (edited(author="me"), "not a manifest of this version .*unknown key 'author'"),
        (lambda d: (d / MANIFEST).write_text("{"), "not a manifest"),
        (lambda d: (d / MANIFEST).unlink(), "no such file"),
        (lambda d: (d / MANIFEST).unlink() or (d / MANIFEST).mkdir(), "not a regular file"),
        (lambda d: (d / "value_dit.onnx").unlink(), "value_dit.onnx: missing"),
        (lambda d: (d / "weights.bin").write_bytes(b"\x00"), "weights.bin: damaged"),
        (lambda d: (d / "value_dit.onnx").write_bytes(b"\x00"), "value_dit.onnx: damaged"),
    ],
)
def test_an_export_that_does_not_fit_is_refused_and_auto_says_so(
    checkpoint: Checkpoint,
    beside: Path,
    damage: Callable[[Path], None],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured()(beside)
    damage(beside)
    with pytest.raises(EngineError, match=f"{message}.*wav export"):
        make_engine("onnxruntime", checkpoint, planner=PLANNER, options=FP32)
    assert make_engine("auto", checkpoint, planner=PLANNER, options=FP32).name == "torch"
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "engine auto: not onnxruntime fp32: " in record.getMessage()


def _broken(*_: Any, **__: Any) -> Any:
    raise ImportError("libcudart.so.12: cannot open shared object file")


def test_auto_goes_on_without_what_fails(
    checkpoint: Checkpoint, beside: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stale export beside a good one, a runtime that is installed but broken."""
    measured()(beside)
    stale = export_directory(checkpoint.directory, replace(TARGET, precision="int8"))
    stale.mkdir()
    try:
        assert make_engine("auto", checkpoint, planner=PLANNER).name == "onnxruntime"
        assert "not onnxruntime int8: " in caplog.text
    finally:
        stale.rmdir()
    monkeypatch.setattr(onnx_runner.OnnxRuntime, "load", _broken)
    assert make_engine("auto", checkpoint, planner=PLANNER, options=FP32).name == "torch"
    assert "not onnxruntime fp32: libcudart" in caplog.text


def test_auto_in_a_format_that_torch_lacks(checkpoint: Checkpoint, beside: Path) -> None:
    options = EngineOptions(dtype="fp16")
    with pytest.raises(EngineError, match=r"nothing runs in 'fp16' here .*no graphs for onnxruntime.*--precision fp16"):
        make_engine("auto", checkpoint, planner=PLANNER, options=options)
    directory = export_directory(checkpoint.directory, replace(TARGET, precision="fp16"))
    shutil.copytree(beside, directory)
    edited(precision="fp16")(directory)
    measured(seconds={"torch fp32": 1.0, "onnxruntime fp16": 9.0})(directory)
    try:
        assert make_engine("auto", checkpoint, planner=PLANNER, options=options).precision == "fp16"
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("changes", "chosen", "said"),
    [
        ({}, "onnxruntime", "when exported, a planning round took 2000 ms with torch fp32, 1000 ms with onnxruntime"),
        ({"seconds": {"torch fp32": 1.0, "onnxruntime fp32": 1.0}}, "torch", "1000 ms with onnxruntime fp32, on a pro"),
        ({"agrees": False, "max_error": 0.5}, "torch", r"onnxruntime fp32 differs from torch by 5.0e-01 \(cosine 1.0"),
        ({"processor": "", "agrees": False}, "torch", "onnxruntime fp32 was not measured when it was exported; `wav e"),
    ],
)
def test_auto_takes_what_was_faster_when_it_was_exported_at_every_start(
    checkpoint: Checkpoint,
    beside: Path,
    changes: dict[str, Any],
    chosen: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However busy the machine is now: no engine is measured when it is loaded."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(parity, "measure", _broken)
    measured(**changes)(beside)
    engine = make_engine("auto", checkpoint, planner=PLANNER, options=FP32)
    assert engine.name == chosen
    assert f"engine auto: {chosen} fp32 (" in caplog.text
    assert re.search(said, engine.description)
    warned = any(record.levelno == logging.WARNING for record in caplog.records)
    assert warned == ("differs" in said)  # to be slower, or not to have been measured, is no fault


def test_an_export_is_compared_with_torch_and_measured(checkpoint: Checkpoint, exported: Path) -> None:
    found = read_manifest(exported).measured
    assert found.processor
    assert found.agrees
    assert 0.0 <= found.max_error < 1e-3
    assert {"torch fp32", "onnxruntime fp32"} <= set(found.seconds)
    assert all(0.0 < seconds < 60.0 for seconds in found.seconds.values())


@pytest.mark.parametrize("way", ["overwrite", "truncate"])
def test_loaded_graphs_do_not_change_when_a_file_does(
    checkpoint: Checkpoint, beside: Path, trial: Trial, way: str
) -> None:
    engine = load_engine(beside, checkpoint, WordEncoder())
    calls = parity.graph_calls(engine, trial)
    before = calls["value_dit"](0)
    for path in beside.iterdir():
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(1) if way == "truncate" else file.write(bytes(size))
    assert torch.equal(before, calls["value_dit"](0))


def test_without_an_export_graphs_are_made_once_and_cached(
    checkpoint: Checkpoint, beside: Path, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(beside)
    assert make_engine("auto", checkpoint, planner=PLANNER, options=FP32).name == "torch"
    caplog.set_level(logging.INFO)
    assert make_engine("onnxruntime", checkpoint, planner=PLANNER, options=FP32).name == "onnxruntime"
    assert "graphs for onnxruntime made in" in caplog.text
    caplog.clear()
    make_engine("onnxruntime", checkpoint, planner=PLANNER, options=FP32)
    assert "made in" not in caplog.text
    cached = cache_directory(read_manifest(exported).checkpoint_sha256, TARGET)
    (cached / "value_dit.onnx").write_bytes(b"")
    make_engine("onnxruntime", checkpoint, planner=PLANNER, options=FP32)
    assert "graphs in the cache are not used and will be made again" in caplog.text


def test_the_command_takes_sizes_from_the_stored_planner_and_its_options(
    checkpoint: Checkpoint, beside: Path, tmp_path: Path
) -> None:
    (checkpoint.directory / "planner.json").write_text(json.dumps({**PLANNER.__dict__, "num_video_samples": 8}))
    try:
        options = ["--video-samples", "3", "--out", str(tmp_path / "out"), "--graphs", "text_encoder"]
        assert main(["export", "--checkpoint", str(checkpoint.directory), *options]) == 0
    finally:
        (checkpoint.directory / "planner.json").unlink()
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.shape, set(manifest.graphs)) == (SHAPE, {"text_encoder"})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--engine tensorflow", "unknown engine 'tensorflow'"),
        ("--precision int4", "unknown precision of onnxruntime 'int4'; did you mean 'int8'"),
    ],
)
def test_the_command_names_what_fits(
    checkpoint: Checkpoint, option: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--checkpoint", str(checkpoint.directory), *option.split()]) == 2
    assert message in capsys.readouterr().err


def test_all_graphs_of_the_shipped_checkpoint_equal_torch(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`wav-tiny` at full width with trained weights: every graph, and whole plans of two futures."""
    shipped, sizes = str(repository / "checkpoints/wav-tiny"), ["--video-samples", "2", "--out", str(tmp_path / "out")]
    assert main(["export", "--checkpoint", shipped, *sizes, "--verify", "--repeat", "1"]) == 0
    printed = capsys.readouterr().out
    assert "K = 3: 100% of the elites are the same" in printed
    assert "equal to torch within the tolerance" in printed
    rows = {line.split("  ")[0] for line in printed.splitlines() if line.endswith(" ms")}
    assert rows >= {"text_encoder", "video_dit of 1", "value_dit", "action_dit guided", "vae_decoder", "plan"}


def test_other_directories_are_kept(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(EngineError, match="exists and is no export"):
        export(checkpoint, TARGET, tmp_path)
    assert (tmp_path / "mine.txt").exists()
