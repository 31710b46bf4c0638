"""Shares of a state are written as they were when saving began, and the state before stays until all are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from wav_models.training.launched import LaunchedWorker
from wav_models.training.shares import put_together, shares_directory, write_shares
from wav_models.training.state import StateError, load_tensors


@pytest.fixture
def group(tmp_path: Path) -> Iterator[dist.ProcessGroup]:
    """Of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield dist.new_group(backend="gloo")
    dist.destroy_process_group()


def state() -> dict[str, Tensor]:
    mesh = init_device_mesh("cpu", (1,))
    weights = torch.arange(15.0).reshape(5, 3)
    return {
        "weights.w": distribute_tensor(weights, mesh, [Shard(0)]),
        "average.w": distribute_tensor(weights.bfloat16(), mesh, [Shard(0)]),
        "optimizer.step.w": torch.tensor(7.0),
    }


def test_what_changes_after_saving_began_is_not_written(group: dist.ProcessGroup, tmp_path: Path) -> None:
    path, tensors = tmp_path / "video.state.safetensors", state()
    shares_directory(path).mkdir()
    (shares_directory(path) / "shard-00009-model-00001-of-00001.safetensors").write_text("of a save that was killed")
    shares = write_shares(tensors, path, group, is_main=True)
    for name in ("weights.w", "average.w"):
        tensors[name].to_local().zero_()  # type: ignore[attr-defined]
    put_together(shares, path, {"step": 7}, is_main=True)
    found, numbers = load_tensors(path, "")
    assert numbers == {"step": 7}
    expected = {name: x if x.ndim == 0 else torch.arange(15.0).reshape(5, 3).to(x.dtype) for name, x in tensors.items()}
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)
    assert not shares_directory(path).exists()


def test_a_failed_save_leaves_the_one_before_and_says_what_to_do(
    group: dist.ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "video.state.safetensors"
    put_together(write_shares(state(), path, group, is_main=True), path, {"step": 1}, is_main=True)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("torch.distributed.checkpoint.HuggingFaceStorageWriter.write_data", full)
        shares = write_shares(state(), path, group, is_main=True)
        with pytest.raises(StateError, match="No space left.*saved before is intact.*--resume"):
            put_together(shares, path, {"step": 2}, is_main=True)
    assert load_tensors(path, "")[1] == {"step": 1}


def test_only_the_last_part_of_a_step_exchanges_gradients(group: dist.ProcessGroup) -> None:
    worker, exchanged = LaunchedWorker(size=2, sharding="ddp"), []
    module = nn.parallel.DistributedDataParallel(nn.Linear(3, 1))

    def exchange(bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        exchanged.append(bucket.index())
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    module.register_comm_hook(None, lambda _, bucket: exchange(bucket))
    for last, expected in ((False, []), (False, []), (True, [0])):
        with worker.accumulating(module, last=last):
            loss = module(torch.ones(2, 3)).sum()
        loss.backward()
        assert exchanged == expected
