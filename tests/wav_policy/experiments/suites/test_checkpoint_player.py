"""A model of LIBERO's robot, from demonstrations to trials: two views, 36 actions of 7 numbers, 10 value channels."""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from tests.wav_policy.experiments.suites import counting_environment as counting
from wav_models.checkpoint import save_checkpoint
from wav_models.configuration import from_dict
from wav_models.data.check import check_dataset
from wav_models.data.conventions import Conventions
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.normalization import Normalization
from wav_models.embodiment import EmbodimentError
from wav_models.embodiments import BIMANUAL_PIPER, LIBERO_PANDA
from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_2B_LIBERO, WAV_TINY, expert_configs
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_policy.experiments.suites import demonstrator
from wav_policy.experiments.suites.catalogue import PROCESSES, get_suite
from wav_policy.experiments.suites.demonstrator import REST, SuiteDemonstrator
from wav_policy.experiments.suites.environment import EnvironmentLost, SuiteEnvironment
from wav_policy.experiments.suites.players import CheckpointPlayer, PlayerSpec, play
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.recording.episode_recorder import EpisodeRecorder
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.quality import QualityMix

SUITE = replace(get_suite("libero_object"), budgets={"all": 20})
VALUE, ACTION = expert_configs(LIBERO_PANDA, num_attention_heads=1, attention_head_dim=16)
CONFIG = replace(
    WAV_2B_LIBERO,
    name="libero-small",
    video=replace(WAV_TINY.video, num_layers=2, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32),
    value=VALUE,
    action=ACTION,
    latent=replace(WAV_TINY.latent, frame_rate=20.0),
    text=WAV_TINY.text,
)
PLANNER = PlannerConfig(
    num_iterations=1, num_video_samples=2, num_value_samples=2, num_video_elites=1, num_value_elites=1
)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[SuiteEnvironment]:
    command = (sys.executable, counting.__file__, str(PROCESSES), str(tmp_path / "died"))
    with SuiteEnvironment(SUITE, command, timeout=60.0) as made:
        yield made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    chunks = rng.normal(size=(9, CONFIG.horizon.action_horizon, 15))
    directory = tmp_path_factory.mktemp("libero") / "small"
    save_checkpoint(
        directory,
        model=WAVModel(CONFIG),
        autoencoder=make_autoencoder(CONFIG),
        normalization=Normalization.fit(
            rng.normal(size=(9, 8)), chunks[..., :7], chunks[..., 7:], rng.normal(size=(9, 10)), LIBERO_PANDA
        ),
        training_record={},
        planner=PLANNER,
    )
    return directory


def test_the_published_configuration_for_libero() -> None:
    horizon = WAV_2B_LIBERO.horizon
    assert (horizon.action_horizon, horizon.num_execute_steps, WAV_2B_LIBERO.num_views) == (36, 8, 2)
    assert WAV_2B_LIBERO.value.out_channels == 10
    assert len(WAV_2B_LIBERO.future_image_offsets) == 9


def test_the_published_planner_is_the_one_that_is_told(repository: Path) -> None:
    text = (repository / "docs/benchmarks_public.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"`(\{\"num_video_samples\".*?\})`", text, re.DOTALL)
    planner = from_dict(PlannerConfig, json.loads(told))
    pairs = planner.num_video_samples * planner.num_value_samples
    assert (planner.num_iterations, planner.num_video_samples, planner.num_value_samples) == (3, 30, 5)
    assert (planner.num_video_elites / planner.num_video_samples, planner.num_value_elites / pairs) == (0.9, 0.1)
    published = (planner.video_times, planner.score, planner.selection, planner.shared_value_noise)
    assert published == ((0.0,), "snr", "sample", False)


def test_a_checkpoint_plays(environment: SuiteEnvironment, checkpoint: Path) -> None:
    player = PlayerSpec("checkpoint", checkpoint, PLANNER).make(SUITE)
    first = play(environment, player, 0, 12)
    assert (first.success, first.steps, len(first.plan_ms)) == (True, 12, 2)
    assert first.seed == 12


def test_the_shipped_checkpoint_plans_every_eighth_step(environment: SuiteEnvironment, repository: Path) -> None:
    player = PlayerSpec("checkpoint", repository / "checkpoints/wav-tiny-libero", PLANNER).make(SUITE)
    trial = play(environment, player, 0, 12)
    assert (trial.success, trial.steps, len(trial.plan_ms)) == (True, 12, 2), "four commands, each held for two steps"


def test_a_plan_is_reproducible_and_sees_what_it_remembers(environment: SuiteEnvironment, checkpoint: Path) -> None:
    policy = WAVPolicy.load(checkpoint, engine="torch", planner=PLANNER, num_threads=1, robot=LIBERO_PANDA)
    commands = []
    for _ in range(2):
        player = CheckpointPlayer(policy)
        seen = environment.reset(0, state=15)
        player.begin(environment, 15)
        chunk = []
        for _ in range(10):
            chunk.append(player.act(seen))
            seen = environment.step(chunk[-1])
        commands.append(chunk)
    np.testing.assert_array_equal(commands[0], commands[1])
    assert np.asarray(commands[0]).shape == (10, 7)


def test_a_slower_model_has_its_commands_held(environment: SuiteEnvironment, checkpoint: Path) -> None:
    policy = WAVPolicy.load(checkpoint, engine="torch", planner=PLANNER, num_threads=1, robot=LIBERO_PANDA)
    commands = {}
    for hold in (1, 2):
        player = CheckpointPlayer(policy, hold=hold)
        seen = environment.reset(0, state=15)
        player.begin(environment, 15)
        commands[hold] = [player.act(seen) for _ in range(4 * hold)]
    np.testing.assert_array_equal(commands[2], np.repeat(commands[1], 2, axis=0))


def test_a_rate_that_commands_cannot_be_held_at_is_refused(checkpoint: Path) -> None:
    slower = replace(SUITE, robot=replace(LIBERO_PANDA, control_rate=30.0))
    with pytest.raises(ValueError, match=r"plans at 20 Hz; libero_object runs at 30 Hz, which is no multiple of it"):
        PlayerSpec("checkpoint", checkpoint, PLANNER).make(slower)


def test_the_piper_refuses_it(checkpoint: Path) -> None:
    with pytest.raises(EmbodimentError, match=r"of the robot libero_panda, the robot of bimanual_piper: actions"):
        WAVPolicy.load(checkpoint)


def test_the_operator_takes_over_from_where_a_policy_got_to(
    environment: SuiteEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrator, "_environment", lambda suite: environment)
    monkeypatch.setattr(demonstrator, "LONGEST_VISIT", 0.5)
    play_one = SuiteDemonstrator(QualityMix({"skilled": 1.0}), 32, visitor=PlayerSpec("random"))
    visits = {}
    for seed in (16, 2, 0, 19, 17):  # the task is done after so many steps
        recorder = MagicMock(extra={})
        assert play_one("libero_object", seed, 0.0, lambda instruction, to=recorder: to)
        visits[seed] = recorder.extra["visited_steps"]
        first, *others = (call.args[1][0] for call in recorder.add_frame.call_args_list)
        assert first == (visits[seed] or seed), "recorded from there on: a layout shows its seed, later its steps"
        assert 1 + len(others) == min(SUITE.max_steps, max(seed - visits[seed], 1) + REST)
    assert visits[2] in (0, 1), "and is given less time where it succeeds"
    assert len(set(visits.values())) > 2
    assert max(visits.values()) <= 10


def test_a_demonstration_whose_environment_is_lost_begins_anew_once(
    environment: SuiteEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrator, "_environment", lambda suite: environment)
    play_one = SuiteDemonstrator(QualityMix({"skilled": 1.0}), 32)
    recorders: list[MagicMock] = []

    def start(instruction: str) -> MagicMock:
        recorders.append(MagicMock(extra={}))
        return recorders[-1]

    assert play_one("libero_object", counting.DIES_ONCE, 0.0, start)
    lost, recorded = recorders
    lost.discard.assert_called_once_with()
    recorded.discard.assert_not_called()
    assert len(recorded.add_frame.call_args_list) == counting.DIES_ONCE + REST
    with pytest.raises(EnvironmentLost, match="the process has ended"):
        play_one("libero_object", counting.DIES, 0.0, start)


def test_a_visitor_is_made_once_however_often_the_demonstrator_arrives(
    environment: SuiteEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrator, "_environment", lambda suite: environment)
    demonstrator._player.cache_clear()
    made: list[PlayerSpec] = []
    make = PlayerSpec.make
    monkeypatch.setattr(PlayerSpec, "make", lambda spec, suite: made.append(spec) or make(spec, suite))
    sent = pickle.dumps(SuiteDemonstrator(QualityMix({"skilled": 1.0}), 32, visitor=PlayerSpec("random")))
    for seed in (3, 4):  # every episode is sent to a worker with its demonstrator
        pickle.loads(sent)("libero_object", seed, 0.0, lambda instruction: MagicMock(extra={}))
    assert len(made) == 1


def test_demonstrations_become_a_labelled_dataset_of_the_robot(
    environment: SuiteEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstrator, "_environment", lambda suite: environment)
    root, sizes = tmp_path / "data", dict.fromkeys(LIBERO_PANDA.view_names, (32, 32))
    with DatasetWriter(root, fps=20, robot=LIBERO_PANDA, image_sizes=sizes) as writer:

        def start(instruction: str) -> EpisodeRecorder:
            writer.start_episode(instruction)
            return writer._recording()

        for seed, quality in ((3, "skilled"), (18, "failing"), (5, "recovering")):
            play_one = SuiteDemonstrator(QualityMix({quality: 1.0}), 32)
            success = play_one("libero_object", seed, 0.0, start)
            writer.set_extra(success=success, seed=seed)
            writer.end_episode()
    dataset = Dataset(root)
    assert dataset.robot == LIBERO_PANDA
    assert [(e.success, e.extra["quality"], e.extra["suite_task"]) for e in dataset.episodes] == [
        (True, "skilled", 0),
        (False, "failing", 1),
        (True, "recovering", 0),
    ]
    assert dataset.episodes[0].length == 3 + REST
    assert label_dataset(root, LabelConfig(image_size=(16, 16))) == 3
    begun_late = dataset.read_episode(2)
    assert (begun_late.capture_times[0], begun_late.states[0, 0]) == (0.0, 4.0), "the mistake of four steps is left out"
    episode = dataset.read_episode(0)
    assert episode.values is not None
    assert (episode.states.shape[1], episode.actions.shape[1], episode.values.shape[1]) == (8, 7, 10)
    faults = [problem for problem in check_dataset(root) if problem.severity == "error"]
    assert all("reaches" in fault.message for fault in faults), (
        "counted steps are no positions, and nothing else is wrong"
    )
    assert any(
        "eef_x runs from" in p.message for p in check_dataset(root, conventions=Conventions(LIBERO_PANDA, limited=True))
    )
    assert len(DatasetGroup([root], LIBERO_PANDA)) == 3
    with pytest.raises(DatasetError, match=r"observation.state has shape \[8\]; bimanual_piper has \[14\]"):
        DatasetGroup([root], BIMANUAL_PIPER)
