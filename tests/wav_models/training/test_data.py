"""What the stages are fed: windows, normalisation, splits, configuration, the auto-encoder's loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.wav_policy.recording.foreign import record
from wav_models.data.samples import window
from wav_models.networks.autoencoder import TinyAutoencoder
from wav_models.presets import WAV_TINY, ModelConfig
from wav_models.training.autoencoder_stage import AutoencoderStage
from wav_models.training.config import AugmentationConfig, AutoencoderConfig, DatasetConfig, TrainConfig, load_config
from wav_models.training.data.augmentation import augment
from wav_models.training.data.batches import Batches, Episodes, fit_normalization, still_steps
from wav_models.training.data.frames import TABLE, Table, held_out_episodes
from wav_models.training.data.latent_store import LatentStore
from wav_models.training.loop import Budget, train
from wav_models.training.randomness import streams_at
from wav_models.training.run import Run
from wav_models.training.stages import draw_flow_time
from wav_models.training.steps import _weights


@pytest.mark.parametrize("step", [0, 1, 17, 29, 30, 41, 66])
def test_batch_agrees_with_the_window_of_one_sample(
    step: int, batches: Batches, episodes: Episodes, model_config: ModelConfig
) -> None:
    first, last = int(episodes.first[step]), int(episodes.last[step])
    expected = window(last - first + 1, step - first, model_config.horizon)
    batch = batches.at(np.array([40, step]))
    normalization = batches.normalization
    images = episodes.latents.images[0]
    memory = images[first + expected.memory].swapaxes(0, 1).astype(np.float32)
    future = images[first + expected.future].swapaxes(0, 1).astype(np.float32)
    np.testing.assert_array_equal(batch.memory_latents[1].numpy(), memory)
    np.testing.assert_array_equal(batch.future_latents[1].numpy(), future)
    np.testing.assert_allclose(batch.targets[1].numpy(), episodes.actions[first + expected.actions])
    decoded = normalization.decode_actions(batch.actions, batch.state)[1]
    np.testing.assert_allclose(decoded.numpy(), episodes.actions[first + expected.actions], atol=1e-5)
    reached = normalization.decode_states(batch.actions, batch.state)[1]
    np.testing.assert_allclose(reached.numpy(), episodes.states[first + expected.states], atol=1e-5)
    values = normalization.decode_values(batch.values)[1]
    np.testing.assert_allclose(values.numpy(), episodes.values[first + expected.values], atol=1e-4)
    assert not batch.state_token[1, 0, :14].any()


def test_steps_count_up_to_the_end_of_their_episode(batches: Batches) -> None:
    """The last command of an episode is due at its end, so one action more is known than values."""
    known = batches.at(batches.episodes.last[:1] - np.arange(5))
    assert known.action_known.sum(dim=1).tolist() == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert known.value_known.sum(dim=1).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (known.action_known.diff(dim=1) <= 0.0).all()


def test_what_is_fitted_on_comes_out_standard(episodes: Episodes, model_config: ModelConfig) -> None:
    """Of the steps that are trained on alone, with their windows as they are trained on."""
    steps = np.arange(5, 40)
    normalization = fit_normalization(episodes, model_config.horizon, steps, model_config.embodiment)
    fitted = Batches(episodes, normalization, model_config.horizon, steps).at(steps)
    for encoded in (fitted.actions, fitted.state_token[:, 0, 14:]):
        np.testing.assert_allclose(encoded.mean(dim=0), 0.0, atol=1e-4)
        np.testing.assert_allclose(encoded.std(dim=0, correction=0), 1.0, atol=1e-3)
    values = normalization.encode_values(episodes.values[steps].astype(np.float64))
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-9)


def test_still_steps_are_those_in_whose_chunk_nothing_moves(episodes: Episodes, model_config: ModelConfig) -> None:
    horizon = model_config.horizon.action_horizon
    first, last = int(episodes.first[-1]), int(episodes.last[-1])
    states = np.zeros_like(episodes.states)
    actions = np.ones_like(episodes.actions)
    actions[first:] = 0.04
    actions[first:, 6::7] = 0.01
    moving_until, robot = first + 2, model_config.embodiment
    actions[moving_until, 3] = -0.06
    still = still_steps(replace(episodes, states=states, actions=actions), model_config.horizon, robot)
    assert last > moving_until
    assert not still[: moving_until + 1].any()
    assert still[moving_until + 1 :].all()
    actions[last, 13] = 0.02  # the last chunks repeat the last action
    still = still_steps(replace(episodes, states=states, actions=actions), model_config.horizon, robot)
    assert still[moving_until + 1 : last - horizon + 1].all()
    assert not still[max(moving_until + 1, last - horizon + 1) :].any()


def test_datasets_and_beginnings_are_drawn_as_often_as_asked() -> None:
    nothing = np.zeros((7, 0), np.float32)
    episodes = [["a", 0, 3, None], ["b", 0, 4, None]]
    table = Table(nothing, nothing, nothing, np.array([0, 3, 7]), np.array([True, False]), ("", ""), episodes, ("", ""))
    assert _weights(table, TrainConfig()).tolist() == [1.0] * 7
    config = TrainConfig(start_steps=2, start_weight=3, datasets={"b": DatasetConfig(weight=0.5)})
    assert _weights(table, config).tolist() == [3.0, 3.0, 1.0, 1.5, 1.5, 0.5, 0.5]


def _episodes(name: str, count: int) -> list[list[Any]]:
    return [[name, index, 50, None] for index in range(count)]


def test_neither_more_data_nor_another_order_moves_the_held_out_episodes() -> None:
    few = held_out_episodes(_episodes("a", 100), 0.1, 7)
    many = held_out_episodes(_episodes("b", 300) + _episodes("a", 400), 0.1, 7)
    np.testing.assert_array_equal(few, many[300:400])
    assert 40 <= many.sum() <= 100
    assert not np.array_equal(many[:100], few), "each dataset has its own"
    assert held_out_episodes(_episodes("a", 3), 0.0, 0).sum() == 1


def test_the_exception_for_small_datasets_is_each_ones_own() -> None:
    alone = held_out_episodes(_episodes("a", 9), 0.0, 3)
    np.testing.assert_array_equal(held_out_episodes(_episodes("b", 5) + _episodes("a", 9), 0.0, 3)[5:], alone)
    assert held_out_episodes(_episodes("b", 5) + _episodes("a", 9), 0.0, 3).sum() == 2
    assert not held_out_episodes(_episodes("a", 1), 0.05, 3).any()


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3])
def test_appended_episodes_take_nothing_away_from_training(fraction: float) -> None:
    for seed in range(30):
        before = held_out_episodes(_episodes("a", 1), fraction, seed)
        for count in range(2, 15):
            now = held_out_episodes(_episodes("a", count), fraction, seed)
            assert not (now[: count - 1] & ~before).any(), (seed, count)
            before = now


def test_share_of_samples_at_the_noisiest_time() -> None:
    times = draw_flow_time((4000,), streams_at(0, "test", 0), 0.25)
    assert 0.22 < (times == 0).float().mean() < 0.28
    assert times.min() >= 0
    assert times.max() < 1


def test_draws_depend_on_every_part_of_their_place() -> None:
    places = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1)]
    first = {streams_at(*place).numpy.random() for place in places}
    second = {torch.rand(1, generator=streams_at(*place).torch).item() for place in places}
    assert len(first) == len(second) == len(places)
    assert streams_at(0, "a", 5).numpy.random() == streams_at(0, "a", 5).numpy.random()


@pytest.mark.parametrize("name", ["train_tiny", "train_tiny_mixed"])
def test_shipped_configuration_loads(name: str) -> None:
    config = load_config(Path(__file__).parents[3] / f"config/{name}.yaml")
    assert config.model is WAV_TINY
    assert config.action.video_rate == 0.5


def test_unknown_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("action: {loop: {learning_rat: 1.0}}\n")
    with pytest.raises(ValueError, match=r"action\.loop.*learning_rat.*learning_rate"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "video: {loop: {learning_rate: 1e-3}}",
            r"yaml: video.loop.learning_rate is '1e-3', a text; write 1.0e-3$",
        ),
        ("video: {loop: {bf16: 'false'}}", "bf16 is 'false', a text; true or false fits"),
        ("video: {loop: {steps: 1.5}}", r"steps is 1\.5; a whole number or nothing fits"),
        ("action: {futures: {own_start: [0, high]}}", r"own_start\[1\] is .*fits"),
        ("value: {futures: {own_fraction: 1.5}}", r"own_fraction is 1\.5; .*0 to 1 fits"),
        ("value: {futures: {own_start: [0.6, 0.3]}}", r"own_start \(0\.6, 0\.3\) must ascend"),
        ("start_weight: 0", "start_weight is 0; a whole number of at least 1 fits"),
        ("action: {prefix_steps: [0, 16]}", r"action\.prefix_steps \(0, 16\) must leave one of the 16 actions"),
        ("preset: wav-tinny", "unknown preset 'wav-tinny'; did you mean 'wav-tiny'"),
        ("seed: true", "seed is True; a whole number fits"),
        ("video: {loop: [", r"run\.yaml: not YAML: while parsing.*line 2"),
        ("- video", "run.yaml: expected a mapping"),
    ],
)
def test_values_of_another_type_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=message):
        load_config(path)


def test_whole_numbers_do_for_others(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("video: {loop: {learning_rate: 1, steps: null, betas: [0, 0.5]}}\n")
    assert load_config(path).video.loop.betas == (0, 0.5)


def test_plan_needs_exactly_one_end() -> None:
    with pytest.raises(ValueError, match="--steps"):
        Budget()
    with pytest.raises(ValueError, match="--steps"):
        Budget(steps=1, seconds=1.0)
    for none in ({"steps": 0}, {"seconds": 0.0}, {"seconds": -60.0}, {"seconds": float("nan")}):
        with pytest.raises(ValueError, match=r"(steps|seconds) is (0|-60|nan).* fits"):
            Budget(**none)  # type: ignore[arg-type]


def test_autoencoder_learns_and_small_objects_count(tmp_path: Path) -> None:
    """Squares that move over a plain background: the part that differs from the mean image must improve."""
    rng = np.random.default_rng(0)
    frames = np.full((40, 3, 64, 64, 3), 90, dtype=np.uint8)
    for frame in frames:
        for view in frame:
            row, column = rng.integers(0, 48, 2)
            view[row : row + 12, column : column + 12] = (220, 40, 40)
    torch.manual_seed(0)
    config = AutoencoderConfig()
    autoencoder = TinyAutoencoder(WAV_TINY.latent, WAV_TINY.video.in_channels)
    steps = np.arange(30)
    views, picture = WAV_TINY.embodiment.view_names, tmp_path / "shown.png"
    stage = AutoencoderStage(autoencoder, frames, steps, np.arange(30, 40), config, views, picture)
    weight = stage.foreground(torch.full((1, 3, 64, 64), 0.9), torch.tensor([0]))
    assert weight.min() > 0.9
    before = stage.evaluate()
    loop = replace(TrainConfig().autoencoder.loop, batch_size=16)
    train(stage, loop, Budget(steps=60), 0, tmp_path / "state.safetensors", report=lambda _: None)
    stage.finish()
    after = stage.evaluate()
    assert after["foreground_head"] > before["foreground_head"] + 3
    assert (tmp_path / "shown.png").stat().st_size > 0
    tokens = autoencoder.encode_memory(torch.from_numpy(frames)[:, :, None])
    assert abs(float(tokens.mean())) < 0.1
    assert 0.8 < float(tokens.std()) < 1.2


def test_weighted_steps_are_drawn_so_much_more_often(batches: Batches) -> None:
    steps = np.array([3, 40, 50])
    weighted = Batches(batches.episodes, batches.normalization, batches.horizon, steps, np.array([1.0, 0.0, 3.0]))
    drawn = weighted.draw(4000, streams_at(0, "video", 0, 0)).state.numpy()
    states = batches.episodes.states[steps]
    counts = [(np.abs(drawn - state).max(axis=1) < 1e-6).mean() for state in states]
    np.testing.assert_allclose(counts, [0.25, 0.0, 0.75], atol=0.03)


def test_a_sample_is_of_one_encoding_and_held_out_ones_are_plain(batches: Batches, episodes: Episodes) -> None:
    (plain,), windows = episodes.latents.images, episodes.latents.windows
    encodings = LatentStore((plain, plain + 50, plain + 100), windows * 3)
    batches = Batches(replace(episodes, latents=encodings), batches.normalization, batches.horizon, batches.steps)
    drawn = batches.draw(60, streams_at(0, "video", 0))
    offsets = torch.cat([drawn.memory_latents, drawn.future_latents], dim=2).flatten(1)
    kinds = (offsets / 50).round()
    assert (kinds == kinds[:, :1]).all()
    assert set(kinds[:, 0].tolist()) == {0.0, 1.0, 2.0}
    assert (batches.at(batches.steps).memory_latents.abs() < 25).all()


def test_pictures_of_a_view_change_alike_throughout_an_episode() -> None:
    """And views differently; without jitter and crop nothing changes."""
    image = np.random.default_rng(0).integers(0, 255, (1, 1, 20, 30, 3), dtype=np.uint8)
    images, config = np.tile(image, (4, 2, 1, 1, 1)), AugmentationConfig(encodings=1)
    changed = augment(images, config, np.random.default_rng(1))
    assert changed.shape == images.shape
    assert (changed == changed[:1]).all()
    assert (changed[:, 0] != changed[:, 1]).mean() > 0.5
    np.testing.assert_array_equal(augment(images[2:], config, np.random.default_rng(1)), changed[2:])
    nothing = AugmentationConfig(brightness=0.0, contrast=0.0, saturation=0.0, crop=1.0)
    np.testing.assert_array_equal(augment(images, nothing, np.random.default_rng(1)), images)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "crop"])
def test_every_kind_of_change_is_its_own(name: str) -> None:
    """Grey pictures have no saturation, uniform ones no crop; brightness scales, contrast keeps mid-grey."""
    nothing = AugmentationConfig(brightness=0.0, contrast=0.0, saturation=0.0, crop=1.0)
    config = replace(nothing, **{name: 0.5})
    colour = np.broadcast_to(np.array([200, 100, 20], np.uint8), (1, 1, 8, 8, 3))
    pictures = {
        "colour": colour,
        "grey": np.full_like(colour, 60),
        "mid-grey": np.full_like(colour, 128),
        "edge": np.concatenate([np.full((1, 1, 8, 4, 3), v, np.uint8) for v in (40, 210)], axis=3),
    }
    seen = {kind: augment(x, config, np.random.default_rng(2)).astype(int) - x for kind, x in pictures.items()}
    unchanged = {kind for kind, difference in seen.items() if np.abs(difference).max() <= 1}
    assert (
        unchanged
        == {
            "brightness": set(),
            "contrast": {"mid-grey"},
            "saturation": {"grey", "mid-grey", "edge"},
            "crop": {"colour", "grey", "mid-grey"},
        }[name]
    )


def test_whose_actions_are_learnt_is_said_by_a_datasets_condition(tmp_path: Path) -> None:
    """Of two datasets, the first one's second episode and all of the other; the table keeps it."""
    first, second = record(tmp_path / "first"), record(tmp_path / "second")
    config = TrainConfig(datasets={"first": DatasetConfig(imitated="index == 1")})
    run = Run(tmp_path / "run", (first, second), config, "")
    imitated = run.imitated(run.dataset())
    assert imitated.tolist() == [False, True, True, True]
    nothing = np.zeros((0, 1), np.float32)
    Table(nothing, nothing, nothing, np.zeros(5, np.int64), imitated, (), [], ()).save(tmp_path / TABLE)
    assert Table.load(tmp_path / TABLE).imitated.tolist() == imitated.tolist()
