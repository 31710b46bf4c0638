"""`wav train` from a recorded dataset to a checkpoint that loads, through the files of a run directory."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sysconfig
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from tests.wav_models.small_checkpoint import SMALL
from tests.wav_models.training.recorded import record
from tests.wav_models.training.recorded import wav_train as main
from wav_models.checkpoint import load_checkpoint
from wav_models.configuration import ConfigurationError
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.dataset_group import DatasetGroup
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.endings import WRONG_USE
from wav_models.experiments.held_out import recorded_split
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import PRESETS, WAV_TINY
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_models.training import command as training_command
from wav_models.training import launched
from wav_models.training.data import latents
from wav_models.training.data.frames import (
    TABLE,
    allocate,
    cache_frames,
    fingerprints,
    read_table,
)
from wav_models.training.launched import LaunchedWorker, cluster_environment
from wav_models.training.state import StageProgress, StateError, load_tensors, save_tensors
from wav_models.training.steps import load_part

CONFIG = """
preset: wav-tiny
workers: 1
validation_fraction: 0.3
validation_samples: 4
autoencoder: {loop: {batch_size: 4, bf16: false}}
video: {loop: {batch_size: 2, bf16: false}}
value: {loop: {batch_size: 2, bf16: false}, futures: {own_fraction: 0.5}, memory_dropout: 0.5}
action: {loop: {batch_size: 2, bf16: false}, futures: {own_fraction: 0.5}, memory_dropout: 0.5, state_dropout: 0.5}
"""


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of those of `wav-tiny`, which are as large as a robot needs them."""
    monkeypatch.setitem(PRESETS, WAV_TINY.name, replace(SMALL, name=WAV_TINY.name))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two labelled datasets of noise: two instructions, the last episode a failure."""
    directory = tmp_path_factory.mktemp("data")
    return [
        str(record(directory / "bowl", "put the bowl on the mat", [True, True])),
        str(record(directory / "drawer", "close the drawer", [False])),
    ]


def test_without_a_compiler_nothing_is_loaded_to_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--devices", "0"]
    with pytest.raises(ConfigurationError, match="needs a C.. compiler .apt-get install g...*--set compile=false"):
        training_command.main(["video", *arguments])


def test_without_headers_of_python_nothing_is_loaded_to_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare Debian has none, and torch finds that out after minutes."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--devices", "0"]
    with pytest.raises(ConfigurationError, match="needs Python's headers .apt-get install python3-dev.*compile=false"):
        training_command.main(["video", *arguments])


def test_a_worker_is_told_by_the_line_that_names_its_error() -> None:
    advice = "Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace"
    traceback = f"Traceback ...\n  raise\ntorch._inductor.exc.InductorError: no Python.h\n\n{advice}\n"
    assert training_command._cause(traceback) == "torch._inductor.exc.InductorError: no Python.h"
    assert training_command._cause("killed\n") == "killed"


def test_every_stage_in_order_gives_a_checkpoint_of_both_tasks(
    datasets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    common = ["--data", *datasets, "--out", str(tmp_path / "run"), "--config", str(config)]
    assert main(["autoencoder", *common, "--steps", "2"]) == 0
    assert main(["latents", *common]) == 0
    _assert_latents_of_a_copied_autoencoder(datasets, tmp_path / "run", tmp_path / "other", config)
    for stage in ("video", "value", "action"):
        assert main([stage, *common, "--steps", "2"]) == 0
    assert main(["action", *common, "--steps", "3", "--resume"]) == 0
    assert main(["checkpoint", *common]) == 0
    checkpoint = load_checkpoint(tmp_path / "run/checkpoint")
    record = checkpoint.training_record
    assert [record["stages"][s]["steps"] for s in ("autoencoder", "video", "value", "action")] == [2, 2, 2, 3]
    assert record["stages"]["video"]["calls"][0]["command"].startswith("wav train video")
    assert [(call["step"], call["data"]) for call in record["stages"]["action"]["calls"]] == [
        (0, datasets),
        (2, datasets),
    ]
    assert record["ancestors"] == []
    assert record["config"]["video"]["loop"]["batch_size"] == 2
    assert (record["data"]["episodes"], record["data"]["successes"]) == (3, 2)
    assert record["data"]["instructions"] == ["close the drawer", "put the bowl on the mat"]
    metrics = json.loads((tmp_path / "run/action.json").read_text())["history"][-1]
    assert metrics["first_step_rad@0"] > 0
    held_out = record["data"]["held_out_of"]
    assert sum(map(len, held_out.values())) == len(record["data"]["identities"]["held_out"])
    for root in datasets:
        chosen = held_out[Path(root).name]
        assert recorded_split(record, Dataset(Path(root))).kind == ("held out" if chosen else "trained on")
    (tmp_path / "run/action.json").unlink()  # as while the stage trains
    assert main(["checkpoint", *common, "--checkpoint", str(tmp_path / "early")]) == 0
    assert load_checkpoint(tmp_path / "early").training_record["stages"]["action"]["steps"] == 3
    capsys.readouterr()
    _mark_unfinished(tmp_path / "run/value.state.safetensors")
    assert main(["action", *common, "--steps", "3", "--resume"]) == 0
    assert "warning: " in (warned := capsys.readouterr().err)
    assert "value.state.safetensors: stage value ended unfinished after 2 steps" in warned
    assert main(["video", *common, "--steps", "3", "--resume"]) == 0
    assert main(["checkpoint", *common]) == 1
    assert "value.state.safetensors: began with other weights of stage video" in capsys.readouterr().err
    with (tmp_path / "run/autoencoder.safetensors").open("ab") as file:
        file.write(b" ")
    assert main(["video", *common, "--steps", "2"]) == 1
    assert re.search(
        r"latents\.npy: encoded with another auto-encoder .*run `wav train latents`", capsys.readouterr().err
    )


def test_a_run_of_its_own_may_have_a_student(datasets: list[str], tmp_path: Path) -> None:
    """It is given as many actions as the action stage was, and plans as was written by hand but for its steps."""
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(
        f"{CONFIG}\ndistil: {{num_futures: 2, num_value_samples: 1, loop: {{batch_size: 2, bf16: false}}}}"
    )
    common = ["--data", *datasets, "--out", str(run), "--config", str(config)]
    assert main(["autoencoder", *common, "--steps", "1"]) == 0
    assert main(["latents", *common]) == 0
    for stage in ("video", "value", "action"):
        given = ["--set", "action.prefix_steps=[0, 3]"] if stage == "action" else []
        assert main([stage, *common, *given, "--steps", "1"]) == 0
    assert main(["checkpoint", *common]) == 0
    (run / "checkpoint/planner.json").write_text('{"num_video_samples": 5, "score": "mean"}')
    assert main(["distil", *common, "--steps", "1"]) == 0
    assert main(["checkpoint", *common]) == 0
    student = load_checkpoint(run / "checkpoint")
    assert student.config.horizon.given_steps == 3
    assert list(student.training_record["stages"])[-1] == "distil"
    planner = student.planner
    assert (planner.num_video_samples, planner.score, planner.video_times) == (5, "mean", (0.25,))
    assert (planner.num_value_steps, planner.num_action_steps) == (1, 1)


def test_a_cluster_encodes_the_same(
    datasets: list[str], cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several jobs, whose rows lie in the same pages of a file."""
    monkeypatch.setattr(latents, "EPISODES_AT_ONCE", 1)
    config, found = tmp_path / "run.yaml", []
    config.write_text(CONFIG)
    for name, options in (("here", []), ("there", ["--scheduler", cluster.scheduler_address])):
        common = ["--data", *datasets, "--out", str(tmp_path / name), "--config", str(config)]
        if not found:
            assert main(["autoencoder", *common, "--steps", "1"]) == 0
        else:
            (tmp_path / name).mkdir()
            shutil.copy(tmp_path / "here/autoencoder.safetensors", tmp_path / name)
        assert main(["latents", *common, *options]) == 0
        found.append(np.load(tmp_path / name / "latents.npy"))
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].any(axis=(1, 2, 3)).all()
    assert len({key for key, *_ in cluster.scheduler.transition_log if str(key).startswith("_encode")}) == 3


@pytest.mark.parametrize("arguments", [["video"], ["latents", "--workers", "2"]])
def test_a_scheduler_is_for_what_it_does(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--data", ".", "--out", "y", "--scheduler", "tcp://a:1"]) == 2
    assert "--scheduler is for `latents`, in the place of --workers" in capsys.readouterr().err


def _assert_latents_of_a_copied_autoencoder(datasets: list[str], run: Path, other: Path, config: Path) -> None:
    """The same, straight from the videos: no copy of the images is kept where no auto-encoder is trained."""
    other.mkdir()
    shutil.copy(run / "autoencoder.safetensors", other)
    assert main(["latents", "--data", *datasets, "--out", str(other), "--config", str(config)]) == 0
    assert np.array_equal(np.load(other / "latents.npy"), np.load(run / "latents.npy"))
    assert not (other / "frames.npy").exists()


def test_a_network_is_taken_from_the_last_stage_that_trained_it(tmp_path: Path) -> None:
    """Of a run that ended after its second stage, which holds nothing of the video network."""
    trained, started = WAVModel(SMALL), WAVModel(SMALL)
    for part in ("video", "value"):
        tensors = {f"average.{part}.{name}": p for name, p in getattr(trained, part).state_dict().items()}
        save_tensors(tmp_path / f"{part}.state.safetensors", tensors, asdict(StageProgress()))
    load_part(tmp_path, started, "video")
    for name, parameter in trained.video.named_parameters():
        assert torch.equal(parameter, started.video.get_parameter(name)), name
    with pytest.raises(StateError, match="has not trained the action network"):
        load_part(tmp_path, started, "action")


@pytest.mark.slow
def test_a_checkpoint_says_what_its_weights_began_with(datasets: list[str], tmp_path: Path) -> None:
    """Three runs, each from the one before."""
    config, runs = tmp_path / "run.yaml", [tmp_path / name for name in "abc"]
    config.write_text(CONFIG)
    for before, run in zip([None, *runs], runs, strict=False):
        common = ["--data", *datasets, "--out", str(run), "--config", str(config)]
        start = [] if before is None else ["--start", str(before)]
        if before is None:
            assert main(["autoencoder", *common, "--steps", "1"]) == 0
        else:
            run.mkdir()
            for name in ("autoencoder.safetensors", "autoencoder.state.safetensors"):
                shutil.copy(before / name, run)
        assert main(["latents", *common]) == 0
        for stage in ("video", "value", "action") if run == runs[-1] else ("video",):
            assert main([stage, *common, "--steps", "1", *(start if stage == "video" else [])]) == 0
    assert main(["checkpoint", *common]) == 0
    record = load_checkpoint(runs[-1] / "checkpoint").training_record
    assert [state["path"] for state in record["ancestors"]] == [
        str(run / "video.state.safetensors") for run in runs[:-1]
    ]
    assert f"--start {runs[0]}" in record["ancestors"][1]["calls"][0]["command"]
    (copied,) = record["stages"]["autoencoder"]["calls"]
    assert f"--out {runs[0]}" in copied["command"]
    with pytest.raises(StateError, match="has not trained the value network"):
        load_part(runs[1], WAVModel(SMALL), "value")


def test_weights_of_other_latents_are_neither_resumed_nor_shipped(
    datasets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(CONFIG)
    first = ["--data", datasets[0], "--out", str(run), "--config", str(config)]
    both = ["--data", *datasets, "--out", str(run), "--config", str(config)]
    assert main(["autoencoder", *first, "--steps", "1"]) == 0
    assert main(["latents", *first]) == 0
    for stage in ("video", "value", "action"):
        assert main([stage, *first, "--steps", "1"]) == 0
    assert main(["checkpoint", *both]) == 1
    assert "latents.npy: of other episodes than the datasets" in capsys.readouterr().err
    assert main(["latents", *both]) == 0
    assert main(["video", *both, "--steps", "2", "--resume"]) == 1
    assert "not trained with the latents and normalisation and table of now" in capsys.readouterr().err
    assert main(["checkpoint", *both]) == 1
    assert f"in another run directory, with --start {run}" in capsys.readouterr().err
    assert not (run / "checkpoint").exists()


def _mark_unfinished(path: Path) -> None:
    tensors, numbers = load_tensors(path, "")
    save_tensors(path, tensors, {**numbers, "complete": False})


def test_an_error_in_a_worker_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ProcessRaisedException("\n\n-- Process 1 ...\nTraceback ...\n  File ...\nStateError: no table\n", 1, 2)

    monkeypatch.setattr("wav_models.training.steps.train_stage", fail)
    (tmp_path / "run.yaml").write_text(CONFIG)
    config = ["--config", str(tmp_path / "run.yaml"), "--steps", "1"]
    assert main(["video", "--data", str(tmp_path), "--out", str(tmp_path), *config]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "wav train: StateError: no table"
    ]  # after what it is about to do


def test_a_full_disk_is_an_error_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device; 0\.0 GB are needed: .*frames\.npy"):
        allocate(tmp_path / "frames.npy", np.dtype(np.uint8), (4, 4))
    assert not (tmp_path / "frames.npy").exists()


def test_frames_of_known_episodes_are_not_decoded_again(datasets: list[str], tmp_path: Path) -> None:
    path = tmp_path / "frames.npy"
    first = np.array(cache_frames(DatasetGroup([Path(datasets[0])], BIMANUAL_PIPER), WAV_TINY, path, 1))
    marked = np.load(path, mmap_mode="r+")
    marked[0] = 7
    marked.flush()
    both = cache_frames(DatasetGroup([Path(d) for d in datasets], BIMANUAL_PIPER), WAV_TINY, path, 1)
    assert (both[0] == 7).all()
    assert np.array_equal(both[1 : len(first)], first[1:])
    assert both[len(first) :].any()
    path.with_suffix(".json").write_text("[[")
    with pytest.raises(StateError, match=r"frames\.json: damaged .*remove it, it is made anew"):
        cache_frames(DatasetGroup([Path(datasets[0])], BIMANUAL_PIPER), WAV_TINY, path, 1)
    path.with_suffix(".json").unlink()
    swapped = cache_frames(DatasetGroup([Path(d) for d in reversed(datasets)], BIMANUAL_PIPER), WAV_TINY, path, 1)
    assert np.array_equal(swapped[-len(first) :], first)


def test_episodes_recorded_anew_are_decoded_anew(datasets: list[str], tmp_path: Path) -> None:
    """Of the same lengths and seeds."""
    root, path = tmp_path / "bowl", tmp_path / "frames.npy"
    shutil.copytree(datasets[0], root)
    group = DatasetGroup([root], BIMANUAL_PIPER)
    cache_frames(group, WAV_TINY, path, 1)
    known = fingerprints(group)
    label_dataset(root, LabelConfig(discount=0.9))
    assert fingerprints(DatasetGroup([root], BIMANUAL_PIPER)) == known
    video = next(root.glob("videos/*/*/*1.mp4"))
    video.write_bytes(video.read_bytes() + b" ")
    assert fingerprints(DatasetGroup([root], BIMANUAL_PIPER)) != known
    modified = path.stat().st_mtime_ns
    cache_frames(DatasetGroup([root], BIMANUAL_PIPER), WAV_TINY, path, 1)
    assert path.stat().st_mtime_ns > modified
    video.unlink()
    with pytest.raises(DatasetError, match=r"file-001\.mp4: no such file"):
        fingerprints(DatasetGroup([root], BIMANUAL_PIPER))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan", "not finite at frame 3"),
        ("column", "column 'action' is missing"),
        ("fps", "cannot be stepped at 10"),
        ("robot", r"shape \[7\]; bimanual_piper has \[14\]"),
        ("size", "the dataset says"),
    ],
)
def test_bad_data_is_refused_before_training(
    fault: str, message: str, datasets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "bad"
    shutil.copytree(datasets[0], root)
    _damage(root, fault)
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    arguments = ["--data", str(root), "--out", str(tmp_path / "run"), "--config", str(config), "--steps", "1"]
    assert main(["autoencoder", *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run" / "autoencoder.state.safetensors").exists()


def _damage(root: Path, fault: str) -> None:
    info_path, data = root / "meta/info.json", next(root.glob("data/*/*.parquet"))
    info, table = json.loads(info_path.read_text()), pq.read_table(data, partitioning=None)
    if fault == "fps":
        info["fps"] = 15
    elif fault == "robot":
        info["features"]["action"]["shape"] = [7]
    elif fault == "size":
        info["features"]["observation.images.top_head"]["shape"] = [480, 640, 3]
    elif fault == "column":
        table = table.drop_columns(["action"])
    elif fault == "nan":
        rows = np.stack(table["action"].to_pylist())
        rows[3, 2] = np.nan
        column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1), pa.float32()), rows.shape[1])
        table = table.set_column(table.column_names.index("action"), "action", column)
    info_path.write_text(json.dumps(info))
    pq.write_table(table, data)


def test_datasets_that_do_not_fit_together_are_refused(datasets: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(datasets[1], other)
    info = json.loads((other / "meta/info.json").read_text())
    (other / "meta/info.json").write_text(json.dumps({**info, "fps": 20}))
    with pytest.raises(DatasetError, match="20 Hz, but .*bowl has 10 Hz"):
        DatasetGroup([Path(datasets[0]), other], BIMANUAL_PIPER)
    with pytest.raises(DatasetError, match="given twice"):
        DatasetGroup([other, other], BIMANUAL_PIPER)
    with pytest.raises(DatasetError, match=r"have one name, .*rename one"):
        DatasetGroup([other, tmp_path / "elsewhere" / "other"], BIMANUAL_PIPER)


def test_labels_of_two_settings_are_not_trained_on_together(datasets: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(datasets[1], other)
    group = DatasetGroup([Path(datasets[0]), other], BIMANUAL_PIPER)
    assert len(read_table(group, WAV_TINY).values)
    label_dataset(other, LabelConfig(discount=0.9))
    for refusing in (group.check, lambda: read_table(group, WAV_TINY)):
        with pytest.raises(DatasetError, match=r"other/.* is labelled with discount 0.9, .*discount 0.98, .*wav label"):
            refusing()


def test_a_stage_names_what_must_come_before(
    datasets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    common = ["--data", datasets[0], "--out", str(tmp_path / "run"), "--config", str(config), "--steps", "1"]
    monkeypatch.setattr("wav_models.training.steps.run_workers", None)  # nothing dear was begun
    for stage in ("video", "action"):
        assert main([stage, *common]) == WRONG_USE
        assert "run `wav train latents` first" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / TABLE).touch()
    assert main(["action", *common]) == WRONG_USE
    assert "run `wav train video` first" in capsys.readouterr().err
    for both in ([], ["--steps", "1", "--minutes", "1"]):
        assert main(["video", "--data", ".", "--out", "y", *both]) != 0
        assert "--minutes X or --steps N" in capsys.readouterr().err


TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "1234"}
SRUN = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"}


class Launched(Exception):
    """Instead of becoming another program."""


@pytest.mark.parametrize(
    ("gpus", "asked", "cluster", "starts"),
    [
        (0, [], {}, 0),
        (1, [], {}, 0),
        (4, [], {}, 4),
        (4, ["--devices", "2"], {}, 2),
        (4, ["--devices", "0"], {}, 0),
        (4, [], TORCHRUN, 0),
        (4, [], {**SRUN, "SLURM_STEP_NODELIST": "node1"}, 0),
        (4, [], {**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, 4),
    ],
)
def test_processes_are_started_where_there_are_several_gpus_and_nobody_has_started_any(
    gpus: int,
    asked: list[str],
    cluster: dict[str, str],
    starts: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my data").mkdir()
    started: list[list[str]] = []

    def become(_: str, command: list[str]) -> None:
        started.append(command)
        raise Launched

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setattr(training_command, "_train", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    argv = ["video", "--data", "my data", "--out", "there", "--steps", "1", *asked]
    if starts:
        with pytest.raises(Launched):
            main(argv)
        command = started[0]
        assert command[command.index("--num_processes") + 1] == str(starts)
        assert command[command.index("--main_process_port") + 1] == "0"
        assert command[command.index("wav_models.training") + 1 :] == argv
    else:
        assert main(argv) == 0
        assert not started


def test_more_gpus_than_there_are_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main(["video", "--data", ".", "--out", "y", "--steps", "1", "--devices", "2"]) == 2
    assert "devices is 2; this machine has 1 GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("gpu-3,gpu-[5-7]", "gpu-3"),
        ("node[007-009,012],other", "node007"),
        ("a[2,5]", "a2"),
        ("rack[1-2]node[03-04]", "rack1node03"),
    ],
)
def test_processes_of_slurm_meet_on_the_first_node_of_their_step(nodes: str, first: str) -> None:
    place = cluster_environment({**SRUN, "SLURM_STEP_NODELIST": nodes, "SLURM_LAUNCH_NODE_IPADDR": "of a login node"})
    expected = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": first}
    assert place == {**expected, "MASTER_PORT": place["MASTER_PORT"]}
    there = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    assert cluster_environment({**SRUN, **there, "SLURM_STEP_NODELIST": nodes}) == {**expected, **there}


def test_steps_of_slurm_on_one_node_meet_at_ports_of_their_own() -> None:
    """Jobs one after the other, and two steps of one job; every process of a step at the same."""
    ports = []
    for job in range(4_000_000, 4_000_008):
        for step in ("0", "1"):
            named = {**SRUN, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": step, "SLURM_STEP_NODELIST": "node1"}
            (port,) = {cluster_environment({**named, "SLURM_PROCID": str(n)})["MASTER_PORT"] for n in range(8)}
            ports.append(int(port))
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32768 for port in ports)  # the kernel gives out those above


def test_a_process_whose_others_are_not_started_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `wav train` in a shell that srun has started for several tasks."""

    def wait(cpu: bool) -> Any:
        time.sleep(0.2)
        return SimpleNamespace(process_index=0, num_processes=1, device=torch.device("cpu"))

    monkeypatch.setattr(launched, "PATIENCE", 0.02)
    monkeypatch.setattr("accelerate.PartialState", wait)
    LaunchedWorker.join("ddp", on_gpu=False)
    assert capsys.readouterr().err == ""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    LaunchedWorker.join("ddp", on_gpu=False)
    assert "process 1 of 4 waits at node1:1234 for the others" in capsys.readouterr().err
    monkeypatch.setattr(launched, "PATIENCE", 60.0)
    LaunchedWorker.join("ddp", on_gpu=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0", **SRUN},
        {"SLURM_NTASKS": "8"},  # a shell of salloc
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"},  # an interactive one
    ],
)
def test_a_process_alone_is_alone(given: dict[str, str]) -> None:
    assert cluster_environment(given) == {}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "MASTER_ADDR": "node1"}, "8 tasks, but srun has not started this"),
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not set"),
        ({**TORCHRUN, "LOCAL_RANK": ""}, "WORLD_SIZE is 4, but LOCAL_RANK is not set"),
    ],
)
def test_what_would_wait_for_others_in_vain_or_train_beside_them_names_what_is_missing(
    given: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch script without srun would be the first of eight; without a LOCAL_RANK each of four trained alone."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["video", "--data", ".", "--out", "y", "--steps", "1"]) == 2
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "on_gpu"), [([], True), (["--devices", "0"], False)])
def test_processes_of_torchrun_train_on_the_cpu_where_they_are_told_to(
    asked: list[str], on_gpu: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[bool] = []

    def join(_: str, *, on_gpu: bool) -> None:
        found.append(on_gpu)
        raise Launched

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(LaunchedWorker, "join", join)
    monkeypatch.setattr(training_command, "_devices_to_start", lambda _: 1)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "train.yaml"
    config.write_text(CONFIG)
    with pytest.raises(Launched):
        main(["video", "--data", ".", "--out", str(tmp_path), "--steps", "1", "--config", str(config), *asked])
    assert found == [on_gpu]
