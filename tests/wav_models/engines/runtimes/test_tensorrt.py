"""TensorRT without a GPU: all graphs compile; everything that needs a GPU, or another plan, says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from wav_models.checkpoint import Checkpoint, load_checkpoint
from wav_models.engines.base import EngineError, EngineOptions
from wav_models.engines.export import ExportTarget, export
from wav_models.engines.manifest import PlanShape, check_manifest, read_manifest
from wav_models.engines.onnx.operators import ATTENTION_OPSET
from wav_models.engines.runtimes import tensorrt as tensorrt_runtime
from wav_models.engines.select import make_engine
from wav_models.planner.config import PlannerConfig

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx") is None,
        reason="TensorRT for RTX is not installed: pip install 'wav-policy[tensorrt-rtx]'",
    ),
]
PLANNER = PlannerConfig(num_video_samples=4, num_value_samples=2, num_video_elites=2, num_value_elites=3)
TARGET = ExportTarget("tensorrt", "fp16", PlanShape.of(PLANNER))
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(random_checkpoint)


@pytest.fixture(scope="module")
def plans(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All graphs of wav-tiny."""
    directory = tmp_path_factory.mktemp("tensorrt") / "plans"
    export(checkpoint, TARGET, directory)
    return directory


def test_all_graphs_compile_for_every_gpu(plans: Path) -> None:
    manifest = read_manifest(plans)
    assert set(manifest.graphs) == {
        "vae_encoder",
        "text_encoder",
        "memory_prefix",
        "video_dit_1",
        "video_dit_4",
        "pick",
        "video_velocity",
        "value_step",
        "value_step_1",
        "action_context",
        "action_step",
        "vae_decoder",
    }
    assert manifest.gpu.split() == list(tensorrt_runtime.RTX_GPUS)
    assert manifest.runtime.startswith("tensorrt_rtx ")
    assert manifest.opset == ATTENTION_OPSET
    assert manifest.graphs["value_step"]["inputs"]["x_t"] == [4, 2, 16, 17]
    assert {path.suffix for path in plans.iterdir()} == {".engine", ".json"}  # nothing is left of the ONNX graphs


def test_a_plan_of_another_runtime_is_refused(plans: Path) -> None:
    manifest = read_manifest(plans)
    newer = manifest.__class__(**{**manifest.__dict__, "runtime": "tensorrt 99.0"})
    with pytest.raises(
        EngineError, match=r"made for runtime tensorrt_rtx .*, but this is tensorrt 99\.0; export again"
    ):
        check_manifest(plans, newer)


def test_a_plan_for_another_gpu_is_refused(plans: Path) -> None:
    manifest = read_manifest(plans)
    expected = manifest.__class__(**{**manifest.__dict__, "gpu": "sm_89"})
    check_manifest(plans, expected)
    hopper = manifest.__class__(**{**manifest.__dict__, "gpu": "sm_90"})
    with pytest.raises(EngineError, match="made for gpu sm_75 .*, but this is sm_90; export again"):
        check_manifest(plans, hopper)
    manifest.__class__(**{**manifest.__dict__, "gpu": "sm_87"}).write(plans)
    try:
        with pytest.raises(EngineError, match="made for gpu sm_87, but this is sm_89; export again"):
            check_manifest(plans, expected)
    finally:
        manifest.write(plans)


@no_gpu
def test_nothing_is_compiled_where_it_could_not_run(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineError, match="runs on an NVIDIA GPU, and torch sees none here"):
        make_engine("tensorrt", checkpoint, planner=PLANNER)
    assert not list(tmp_path.iterdir())


@no_gpu
def test_without_a_gpu_the_engine_says_so_and_auto_takes_another(checkpoint: Checkpoint, plans: Path) -> None:
    with pytest.raises(EngineError, match="runs on an NVIDIA GPU, and torch sees none here"):
        tensorrt_runtime.RUNTIME.load(plans, read_manifest(plans), EngineOptions(), "cuda")
    assert make_engine("auto", checkpoint, planner=PLANNER).name != "tensorrt"


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    trt = tensorrt_runtime.tensorrt_module()
    logger = tensorrt_runtime._make_logger(trt)
    (tmp_path / "value_step.engine").write_bytes(bytes(1000))
    with pytest.raises(EngineError, match=r"value_step\.engine: TensorRT refuses this engine \(.+\); export again"):
        tensorrt_runtime.load_tensorrt_engine(trt.Runtime(logger), logger, tmp_path / "value_step.engine")


def test_a_graph_that_it_cannot_read_is_named_with_the_reason(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Dream", ["x"], ["y"], domain="wav")], "g", [value], [result])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("wav", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "dream.onnx")
    with pytest.raises(EngineError, match=r"dream\.onnx: TensorRT cannot read this graph: .*Dream"):
        tensorrt_runtime.build_engine(tmp_path / "dream.onnx", tmp_path / "dream.engine")


@pytest.mark.parametrize("number", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT])
def test_attention_compiles_where_it_has_a_kernel_of_its_own_and_where_not(number: int, tmp_path: Path) -> None:
    """Unmarked, that in float32 is refused."""
    query, key, value, result = (
        helper.make_tensor_value_info(name, number, [4, 2, count, 64])
        for name, count in zip("qkvy", (32, 48, 48, 32), strict=True)
    )
    graph = helper.make_graph(
        [helper.make_node("Attention", ["q", "k", "v"], ["y"])], "g", [query, key, value], [result]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ATTENTION_OPSET)], ir_version=10)
    onnx.save(model, tmp_path / "attention.onnx")
    tensorrt_runtime.build_engine(tmp_path / "attention.onnx", tmp_path / "attention.engine")
    assert (tmp_path / "attention.engine").stat().st_size > 0
