"""Training beyond one process: what `accelerate launch` starts does what the run's own workers do."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.loop import Budget, train
from wav_models.training.parallel import TrainingWorker, run_workers
from wav_models.training.stage_table import make_stage
from wav_models.training.state import load_tensors

pytestmark = pytest.mark.slow

SCRIPT = """
import os
import pickle
import signal
import sys
from pathlib import Path
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from wav_models.training import shares
from wav_models.training.config import TrainConfig
from wav_models.training.launched import LaunchedWorker
from wav_models.training.loop import Budget, train
from wav_models.training.stage_table import make_stage

directory, sharding, stage, steps = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
model, batches, loop = pickle.loads((directory / "inputs.pickle").read_bytes())
worker = LaunchedWorker.join(sharding, on_gpu=False)
assert worker.size == 2
stage = make_stage(stage, model, batches, TrainConfig(), dict)

def killed_at_its_second_call(function, calls=[]):
    def call(*arguments):
        calls.append(0)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

if sys.argv[5:] == ["writing"] and not worker.is_main:
    HuggingFaceStorageWriter.write_data = killed_at_its_second_call(HuggingFaceStorageWriter.write_data)
if sys.argv[5:] == ["putting together"] and worker.is_main:
    shares.save_tensors = killed_at_its_second_call(shares.save_tensors)
train(stage, loop, Budget(steps=steps), 0, directory / f"{sharding}.safetensors", worker=worker, resume=True,
      report=lambda _: None)
"""


def _launch(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "job.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    options = [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--num_cpu_threads_per_process",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": os.getcwd()}
    job = [str(directory / "job.py"), str(directory), *arguments]
    return subprocess.run([*command, *options, *job], env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("stage", ["action", "distil"])
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_launched_processes_equal_two_workers_and_resume(
    sharding: str, stage: str, model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    _away_from_zero(model)
    (tmp_path / "inputs.pickle").write_bytes(pickle.dumps((model, batches, loop_config)))
    for steps in (2, 4):
        run_workers(_train, (model, batches, loop_config, steps, tmp_path / "workers.safetensors", stage), 2)
    for steps in ("2", "4"):
        result = _launch(tmp_path, sharding, stage, steps)
        assert result.returncode == 0, result.stderr[-2000:]
    expected, _ = load_tensors(tmp_path / "workers.safetensors", "")
    tensors, progress = load_tensors(tmp_path / f"{sharding}.safetensors", "")
    assert progress["step"] == 4
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=2e-4, msg=partial("{}: {}".format, name))


@pytest.mark.parametrize("killed", ["writing", "putting together"])
def test_a_process_that_is_killed_while_it_saves_loses_that_save_only(
    killed: str, model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    """Begun by one process, gone on with by two that hold shares, until one of them is killed, then by one again."""
    _away_from_zero(model)
    saving = replace(loop_config, save_seconds=0.0)
    (tmp_path / "inputs.pickle").write_bytes(pickle.dumps((model, batches, saving)))
    alone, path = replace(loop_config, accumulation=2), tmp_path / "fsdp.safetensors"  # the samples of two
    for steps in (2, 4):  # the learning rate follows what is planned
        run_workers(_train, (model, batches, alone, steps, tmp_path / "expected.safetensors"), 1)
    run_workers(_train, (model, batches, alone, 2, path), 1)
    result = _launch(tmp_path, "fsdp", "action", "4", killed)
    assert result.returncode != 0
    assert "SIGKILL" in result.stderr or "-9" in result.stderr, result.stderr[-2000:]
    assert load_tensors(path, "")[1]["step"] == 3
    run_workers(_train, (model, batches, alone, 4, path), 1)
    expected, _ = load_tensors(tmp_path / "expected.safetensors", "")
    tensors, _ = load_tensors(path, "")
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=2e-4, msg=partial("{}: {}".format, name))


def _away_from_zero(model: WAVModel) -> None:
    """Gradients behind zero-initialised projections are rounding errors."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


def _train(
    worker: TrainingWorker,
    model: WAVModel,
    batches: Batches,
    config: LoopConfig,
    steps: int,
    path: Path,
    name: str = "action",
) -> None:
    own = copy.deepcopy(model)  # what spawned workers are given, they share
    stage = make_stage(name, own, batches, TrainConfig(), dict)
    train(stage, config, Budget(steps=steps), 0, path, worker=worker, resume=True, report=lambda _: None)
