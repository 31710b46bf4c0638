"""`wav-2b` in small: a causal video auto-encoder and a T5 from a local directory, trained and acting from a dataset."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.wav_models.conftest import save_autoencoder
from tests.wav_models.piper import JOINT_DIM
from tests.wav_models.training.recorded import NUM_FRAMES, record
from tests.wav_models.training.recorded import wav_train as main
from wav_models.data.dataset_group import DatasetGroup
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.endings import INTERRUPTED
from wav_models.networks.autoencoder import LTXAutoencoder
from wav_models.networks.tensor_names import official_name
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import (
    PRESETS,
    WAV_2B,
    WAV_TINY,
    ExpertConfig,
    HorizonConfig,
    LatentConfig,
    ModelConfig,
    TextConfig,
    VideoConfig,
)
from wav_models.training.data.frames import DecodedFrames, Frames, fingerprints, step_starts
from wav_models.training.data.latent_files import LatentFiles, bytes_per_step, load_latents, make_origin
from wav_models.training.data.latents import _encode, _Encoding, cache_latents
from wav_models.training.state import StateError, load_tensors
from wav_models.types import ImageArray, Observation
from wav_policy.policy.wav_policy import WAVPolicy

SMALL = ModelConfig(
    name="wav-2b-small",
    video=VideoConfig(
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=8,
        out_channels=8,
        caption_channels=24,
        cross_attention_dim=24,
    ),
    value=ExpertConfig(num_attention_heads=2, attention_head_dim=8, in_channels=17, out_channels=17),
    action=ExpertConfig(num_attention_heads=2, attention_head_dim=8, in_channels=28, out_channels=28),
    latent=LatentConfig("ltx", (64, 64), (2, 2), 32, 8, 10.0),
    horizon=HorizonConfig(10.0, (-3, -2, -1, 0), (1, 9), action_horizon=9, value_horizon=9, num_execute_steps=4),
    text=TextConfig("t5", 6),
)
STAGES = ("video", "value", "action")
CONFIG = f"""
preset: {SMALL.name}
workers: 1
validation_fraction: 0.3
validation_samples: 4
video: {{loop: {{batch_size: 2, bf16: false}}}}
value: {{loop: {{batch_size: 2, bf16: false}}}}
action: {{loop: {{batch_size: 2, bf16: false}}, futures: {{own_fraction: 0.5}}}}
"""
NOBODY = "sha256 of no auto-encoder"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("data") / "bowl", "put the bowl on the mat", [True, True, False])


@pytest.fixture(scope="module")
def encoded(data: Path, ltx_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory after `wav train latents`, and its configuration."""
    directory = tmp_path_factory.mktemp("encoded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, SMALL.name, SMALL)
        assert main(["latents", *arguments(directory, data, ltx_directory)]) == 0
    return directory


@pytest.fixture
def common(
    encoded: Path, data: Path, tmp_path: Path, ltx_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Arguments of every stage of a run in `tmp_path` whose latents are there."""
    monkeypatch.setitem(PRESETS, SMALL.name, SMALL)
    shutil.copytree(encoded, tmp_path, dirs_exist_ok=True)
    return arguments(tmp_path, data, ltx_directory)


def arguments(directory: Path, data: Path, ltx_directory: Path) -> list[str]:
    config = directory / "run.yaml"
    config.write_text(CONFIG)
    run = ["--data", str(data), "--out", str(directory / "run"), "--config", str(config)]
    return [*run, "--pretrained", str(ltx_directory)]


def files_of(data: Path, run: Path) -> LatentFiles:
    """The files of a run, of an auto-encoder that nobody looks at."""
    run.mkdir(exist_ok=True)
    dataset = DatasetGroup([data], BIMANUAL_PIPER)
    return LatentFiles(run, SMALL, make_origin(SMALL, NOBODY, fingerprints(dataset)), step_starts(dataset, SMALL))


def encode(files: LatentFiles, frames: Frames, ltx_directory: Path) -> str:
    said: list[str] = []
    cache_latents(files, frames, ltx_directory, 1, said.append)
    return said[0]


def test_three_stages_give_a_checkpoint_that_acts_and_imagines(
    common: list[str], tmp_path: Path, ltx_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not (tmp_path / "run/frames.npy").exists()
    for stage in STAGES:
        assert main([stage, *common, "--steps", "2"]) == 0
    capsys.readouterr()
    assert main(["latents", *common]) == 0
    assert "0 of 3 episodes to encode; 36 steps take 0.00 GB, an hour of data 0.0 GB" in capsys.readouterr().out
    assert main(["checkpoint", *common]) == 0
    policy = WAVPolicy.load(tmp_path / "run/checkpoint", engine="torch", pretrained=ltx_directory)
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 64, 64, 3), dtype=np.uint8)
    plan = policy.plan(Observation(images, np.zeros(JOINT_DIM), "put the bowl on the mat"))
    assert plan.chunk.positions.shape == (9, JOINT_DIM)
    assert np.isfinite(plan.chunk.positions).all()
    assert policy.imagine(plan).shape == (3, len(SMALL.future_image_offsets), 64, 64, 3)


def test_latents_are_those_of_the_images_at_their_times(data: Path, encoded: Path, ltx_directory: Path) -> None:
    """Also beyond the end of an episode, where the robot stays, and for the first latent, which nobody stores twice."""
    frames = DecodedFrames(DatasetGroup([data], BIMANUAL_PIPER), SMALL)
    store = load_latents(encoded / "run", SMALL, 3 * NUM_FRAMES, None)
    autoencoder = LTXAutoencoder.load(ltx_directory, SMALL.latent)
    images = torch.from_numpy(frames.read(1, range(NUM_FRAMES)))
    for t in (0, 2, NUM_FRAMES - 5, NUM_FRAMES - 1):
        rows = np.minimum(t + np.arange(1, 10), NUM_FRAMES - 1)
        expected = autoencoder.encode_future(images[rows].movedim(0, 1)[None])
        step, ends = np.array([NUM_FRAMES + t]), NUM_FRAMES + rows[None, [0, -1]]
        torch.testing.assert_close(torch.from_numpy(store.future(step, ends)).float(), expected, atol=5e-3, rtol=2e-3)
        memory = torch.from_numpy(store.memory(step[:, None])).float()
        torch.testing.assert_close(memory, autoencoder.encode_memory(images[t][None, :, None]), atol=5e-3, rtol=2e-3)


def test_augmented_encodings_lie_beside_the_plain_one(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, augmented = tmp_path / "run", ["--set", "augmentation.encodings=2"]
    plain = load_latents(run, SMALL, 3 * NUM_FRAMES, None)
    before = [array[0].copy() for array in (plain.images, plain.windows)]
    assert main(["latents", *common, *augmented]) == 0
    assert re.search(r"3 of 3 episodes  \d+\.\d frames/s", capsys.readouterr().out)
    store = load_latents(run, SMALL, 3 * NUM_FRAMES, None)
    for kept, encodings in zip(before, (store.images, store.windows), strict=True):
        assert len(encodings) == 3
        np.testing.assert_array_equal(encodings[0], kept)
        differences = [np.abs(a.astype(float) - b).mean() for a, b in combinations(encodings, 2)]
        assert min(differences) > 0.01
    assert main(["video", *common, "--steps", "1"]) == 1
    assert re.search(r"latents\.npy: made with .*encodings=2.*run `wav train latents`", capsys.readouterr().err)
    assert main(["video", *common, *augmented, "--steps", "1"]) == 0
    assert main(["latents", *common]) == 0
    assert sorted(path.name for path in run.glob("*.npy")) == ["futures.npy", "latents.npy"]


def test_long_episodes_are_encoded_in_blocks(
    data: Path, encoded: Path, tmp_path: Path, ltx_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Futures reach over the end of a block, not over that of the episode."""
    monkeypatch.setattr("wav_models.training.data.latents.BLOCK", 5)
    files = files_of(data, tmp_path)
    assert files.prepare() == [0, 1, 2]
    frames = DecodedFrames(DatasetGroup([data], BIMANUAL_PIPER), SMALL)
    _encode(_Encoding(files, frames, ltx_directory, True, 0, [0, 1, 2]))
    files.publish()
    for name in ("latents.npy", "futures.npy"):
        np.testing.assert_allclose(np.load(tmp_path / name), np.load(encoded / "run" / name), atol=5e-3, rtol=2e-3)


@dataclass(frozen=True)
class DeadlyFrames:
    """Kills, without warning, the process that reads episode 1."""

    frames: Frames

    def read(self, episode: int, steps: range) -> ImageArray:
        if episode == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.frames.read(episode, steps)


def test_an_encoding_killed_without_warning_goes_on(
    data: Path, encoded: Path, tmp_path: Path, ltx_directory: Path
) -> None:
    files, frames = files_of(data, tmp_path / "killed"), DecodedFrames(DatasetGroup([data], BIMANUAL_PIPER), SMALL)
    with pytest.raises(ChildProcessError):
        encode(files, DeadlyFrames(frames), ltx_directory)
    assert files.finished() == {0}
    with pytest.raises(StateError, match=r"latents\.npy: no such file; run `wav train latents` first"):
        load_latents(files.run, SMALL, 3 * NUM_FRAMES, NOBODY)
    with (files.run / "latents.journal").open("a") as file:
        file.write("2")  # cut off: the machine died while it noted episode 2
    assert encode(files, frames, ltx_directory).startswith("[latents] 2 of 3 episodes")
    for name in ("latents.npy", "futures.npy"):
        assert (files.run / name).read_bytes() == (encoded / "run" / name).read_bytes(), name
    assert {path.name for path in files.run.iterdir()} == {"latents.npy", "futures.npy", "latents.json"}


def test_a_publication_that_was_ended_goes_on(
    common: list[str], encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    origin = json.loads((run / "latents.json").read_text())
    (run / "latents.json").unlink()
    (run / "futures.npy").rename(run / "futures.npy.partial")
    (run / "latents.journal").write_text(json.dumps(origin) + "\n0\n1\n2\n")
    assert main(["video", *common, "--steps", "1"]) == 2
    assert "run `wav train latents` first" in capsys.readouterr().err
    assert main(["latents", *common]) == 0
    assert "[latents] 0 of 3 episodes" in capsys.readouterr().out
    for name in ("latents.npy", "futures.npy", "latents.json"):
        assert (run / name).read_bytes() == (encoded / "run" / name).read_bytes(), name
    assert not list(run.glob("*.partial")) + list(run.glob("*.journal"))


def test_what_an_ended_encoding_of_others_left_behind_is_removed(
    common: list[str], encoded: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "latents.journal").write_text(json.dumps({"episodes": []}) + "\n0\n")
    for name in ("latents.npy", "futures.npy"):
        np.save(run / f"{name}.partial", np.zeros((2, 2), np.float16), allow_pickle=False)
        (run / f"{name}.partial.npy").rename(run / f"{name}.partial")
    assert main(["latents", *common]) == 0
    for name in ("latents.npy", "futures.npy"):
        assert (run / name).read_bytes() == (encoded / "run" / name).read_bytes(), name
    assert not list(run.glob("*.partial")) + list(run.glob("*.journal"))


def test_appended_episodes_are_all_that_is_encoded(
    common: list[str], encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, whole = tmp_path / "run", np.load(encoded / "run/futures.npy")
    origin = json.loads((run / "latents.json").read_text())
    (run / "latents.json").write_text(json.dumps({**origin, "episodes": origin["episodes"][:1]}))
    np.save(run / "latents.npy", np.load(run / "latents.npy")[:NUM_FRAMES])
    np.save(run / "futures.npy", np.full_like(whole[:NUM_FRAMES], 7))
    assert main(["latents", *common]) == 0
    assert "[latents] 2 of 3 episodes" in capsys.readouterr().out
    (windows,) = load_latents(run, SMALL, 3 * NUM_FRAMES, None).windows
    assert (windows[:NUM_FRAMES] == 7).all()
    assert np.array_equal(windows[NUM_FRAMES:], whole[NUM_FRAMES:])


def test_latents_of_other_images_or_another_autoencoder_are_refused(
    common: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["latents", *common[:-2]]) == 2
    assert "'ltx' needs the local directory" in capsys.readouterr().err
    save_autoencoder(tmp_path / "other", seed=1)
    assert main(["video", *common[:-1], str(tmp_path / "other"), "--steps", "1"]) == 1
    assert re.search(r"latents\.npy: encoded with another auto-encoder .*wav train latents", capsys.readouterr().err)
    later = replace(SMALL, horizon=replace(SMALL.horizon, future_offsets=(0, 8)))
    monkeypatch.setitem(PRESETS, SMALL.name, later)
    assert main(["video", *common[:-2], "--steps", "1"]) == 1
    assert re.search(
        r"futures\.npy: futures of the images at steps \[1, 2,.* imagines \[0, 1,", capsys.readouterr().err
    )


@contextmanager
def _stop_after_two_steps() -> Iterator[Iterator[bool]]:
    class Stop:
        asked = 0

        def __bool__(self) -> bool:
            self.asked += 1
            return self.asked > 2

    yield Stop()  # type: ignore[misc]


def test_every_stage_resumes_to_the_last_digit(common: list[str], tmp_path: Path) -> None:
    ends = []
    for interrupted in (False, True):
        for stage in STAGES:
            if interrupted:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("wav_models.training.loop.stop_on_signals", _stop_after_two_steps)
                    assert main([stage, *common, "--steps", "4"]) == INTERRUPTED
                assert load_tensors(tmp_path / f"run/{stage}.state.safetensors", "")[1]["step"] == 2
            assert main([stage, *common, "--steps", "4", "--resume"]) == 0
        ends.append([load_tensors(tmp_path / f"run/{stage}.state.safetensors", "")[0] for stage in STAGES])
        for stage in STAGES:
            (tmp_path / f"run/{stage}.state.safetensors").unlink()
    for whole, parts in zip(*ends, strict=True):
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_published_weights_are_where_a_stage_starts(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    published = {n: t for n, t in WAVModel(SMALL).video.state_dict(prefix="video.").items() if "view" not in n}
    save_file({official_name(name): tensor for name, tensor in published.items()}, tmp_path / "ltx.safetensors")
    assert main(["video", *common, "--steps", "1", "--weights", str(tmp_path / "ltx.safetensors")]) == 0
    assert "has no views, value, action; they start from random weights" in capsys.readouterr().err
    trained, _ = load_tensors(tmp_path / "run/video.state.safetensors", "", prefix="weights.")
    for name, tensor in published.items():
        torch.testing.assert_close(trained[name], tensor, atol=1e-4, rtol=0)


def test_an_autoencoder_that_looks_ahead_is_refused(data: Path, tmp_path: Path) -> None:
    """It would encode the first image of a future otherwise than the same image as memory."""
    save_autoencoder(tmp_path, seed=0, causal=False)
    with pytest.raises(ValueError, match="the auto-encoder is not causal"):
        encode(files_of(data, tmp_path / "run"), DecodedFrames(DatasetGroup([data], BIMANUAL_PIPER), SMALL), tmp_path)


def test_images_of_a_future() -> None:
    assert WAV_2B.future_image_offsets == (6, 12, 18, 24, 30, 36, 42, 48, 54)
    assert WAV_TINY.future_image_offsets == WAV_TINY.horizon.future_offsets
    assert (WAV_2B.num_window_latents, WAV_TINY.num_window_latents) == (1, 0)
    uneven = replace(WAV_2B, horizon=replace(WAV_2B.horizon, future_offsets=(27, 54)))
    with pytest.raises(ValueError, match=r"\(27, 54\) do not leave a whole number of steps between the 8 images"):
        _ = uneven.future_image_offsets
    assert bytes_per_step(WAV_2B) == 3 * 64 * 128 * 2 * 2
