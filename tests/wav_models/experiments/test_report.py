"""Figures from data files: every one is drawn, shows its data, and damage is named."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.wav_models.piper import CHANNEL_NAMES, VIEWS
from wav_models.embodiments import EMBODIMENTS
from wav_models.evaluation.closed_loop import TrialResult
from wav_models.evaluation.trials import summarise
from wav_models.experiments.figures import FIGURES, reward_terms, success_bars
from wav_models.experiments.page import ReportError, draw_report
from wav_models.experiments.rollout import peak_signal_to_noise, require_chainable
from wav_models.presets import WAV_2B, WAV_TINY

COMMAND = {"command": "wav report --measure <all>", "seeds": [0, 4]}


def outcomes(*successes: bool) -> list[TrialResult]:
    return [TrialResult(seed, success, 10, (50.0,)) for seed, success in enumerate(successes)]


def data_files() -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    result = summarise({"k0": outcomes(True, False, False, True), "k3": outcomes(True, True, False, True)})
    swept = summarise({"1": outcomes(True, False), "3": outcomes(True, True)})
    sweeps = [{"parameter": "num_iterations", "label": "K", "values": [1, 3], "tasks": {"bowl": swept}}] * 2
    curve = {"time": [0, 1, 2], "true": [0.1, 0.2, 0.3], "mean": [0.1, 0.2, 0.2], "std": [0.01] * 3}
    common = {"times": [0.8, 1.6], "views": list(VIEWS)}
    quality = {name: rng.random((3, 2)).tolist() for name in ("psnr", "ssim", "copy_psnr")}
    frames = rng.integers(0, 255, (3, 2, 64, 64, 3), dtype=np.uint8)
    return {
        "success.json": {"tasks": {"bowl": result, "drawer": result}},
        "search.json": {"sweeps": sweeps},
        "refit.json": {"sweeps": sweeps},
        "cost.json": {
            "engine": "torch bf16",
            "rows": [{"num_iterations": k, "plan_ms_p50": 50 * k, "peak_memory_mb": 600} for k in (0, 3)],
        },
        "value.json": {"curves": [{**curve, "success": ok, "seed": 3} for ok in (True, False)]},
        "rollout.npz": {**common, "true": frames, "imagined": frames},
        "rollout_quality.json": {**common, **quality},
        "futures.npz": {
            "task": "drawer",
            "time": 3.9,
            "score": "gain",
            "now": frames[0, 0],
            "frames": frames[:, 0],
            "scores": np.array([0.1, 0.3, 0.2]),
            "means": np.array([0.2, 0.1, 0.2]),
            "moved_rad": np.array([[0.6, 0.0], [0.0, 0.6], [0.5, 0.1]]),
        },
        "feasibility.json": {
            "horizon": 3,
            "sequences": 40,
            "survival": {"uniform": [0.5, 0, 0], "latent": [1, 1, 0.9]},
        },
        "rewards.json": {
            "names": list(CHANNEL_NAMES[:-1]),
            "time": [0, 1],
            "weighted": np.zeros((2, 16)).tolist(),
            "reward": [0, 1],
            "return": [0, 1],
        },
    }


def write(directory: Path, files: dict[str, dict[str, Any]]) -> None:
    for name, data in files.items():
        if name.endswith(".npz"):
            np.savez(directory / name, **COMMAND, **data)
        else:
            (directory / name).write_text(json.dumps({**COMMAND, **data}))


def test_every_figure_is_drawn_and_on_the_page(tmp_path: Path) -> None:
    write(tmp_path, data_files())
    assert draw_report(tmp_path) == list(FIGURES)
    page = (tmp_path / "index.html").read_text()
    assert page.count("<figure>") == len(FIGURES)
    assert "wav report --measure &lt;all&gt;" in page
    for name in FIGURES:
        picture = cv2.imread(str(tmp_path / f"{name}.png"))
        assert picture is not None
        assert picture.std() > 5, f"{name} is blank"


def test_terms_of_reward_are_those_of_the_robot(tmp_path: Path) -> None:
    for robot in EMBODIMENTS.values():
        names = [term.name for term in robot.reward_terms]
        told = {"names": names, "time": [0, 1], "weighted": np.eye(2, len(names)).tolist(), "reward": [0, 1]}
        write(tmp_path, {"rewards.json": {**told, "return": [0, 1]}})
        assert draw_report(tmp_path) == ["rewards"]
        figure = reward_terms(json.loads((tmp_path / "rewards.json").read_text()))
        shown = [axes.get_title() for axes in figure.axes if axes.get_visible()]
        assert shown == [*names, "reward (sum)", "discounted return"]


def test_the_page_says_what_it_is_of_and_reads_on_a_phone(tmp_path: Path) -> None:
    origin = {"checkpoint": "mine", "checkpoint_sha256": "0123456789abcdef", "measured": "2026-11-29", "version": "0.1"}
    cost = {**origin, **data_files()["cost.json"]}
    rewards = {**origin, "data": "bowl<1>", "episodes_were": "held out", **data_files()["rewards.json"]}
    write(tmp_path, {"cost.json": cost, "rewards.json": rewards})
    draw_report(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert 'name="viewport"' in page
    assert "Of checkpoint mine (SHA-256 0123456789ab). Drawn on " in page
    assert f"by wav-policy {version('wav-policy')} " in page
    told = "checkpoint mine (SHA-256 0123456789ab), dataset bowl&lt;1&gt;, recorded episodes: held out"
    assert f"<small>{told}, measured on 2026-11-29 by wav-policy 0.1</small>" in page


def test_figures_of_several_checkpoints_are_told_apart(tmp_path: Path) -> None:
    files = data_files()
    write(tmp_path, {"cost.json": {"checkpoint": "a", **files["cost.json"]}, "value.json": files["value.json"]})
    draw_report(tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "Of checkpoint a: cost; a checkpoint that is not named: value. Drawn" in page


def test_success_bars_show_rates_and_intervals() -> None:
    figure = success_bars({**COMMAND, **data_files()["success.json"]})
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([50, 50, 75, 75])


def test_a_condition_that_one_task_was_not_run_in_has_no_bar_there() -> None:
    both, one = data_files()["success.json"]["tasks"]["bowl"], summarise({"k0": outcomes(True, True)})
    axes = success_bars({**COMMAND, "tasks": {"bowl": one, "drawer": both}}).axes[0]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx([100, 50, 75])
    assert round(axes.patches[-1].get_x()) == 1, "the bar of the other task stays where it was"


def test_damaged_and_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no data"):
        draw_report(tmp_path)
    (tmp_path / "cost.json").write_text("{")
    with pytest.raises(ReportError, match=r"cost\.json: damaged"):
        draw_report(tmp_path)
    (tmp_path / "cost.json").write_text("null")
    with pytest.raises(ReportError, match=r"cost\.json: damaged"):
        draw_report(tmp_path)
    write(tmp_path, {"cost.json": {"lines": []}})
    with pytest.raises(ReportError, match="cost: not the data of this figure"):
        draw_report(tmp_path)
    (tmp_path / "cost.json").write_text(json.dumps(data_files()["cost.json"]))
    with pytest.raises(ReportError, match="cost: not the data of this figure .*command"):
        draw_report(tmp_path)


@pytest.mark.parametrize("length", [0, 10, -100])
def test_an_archive_that_was_cut_is_named(length: int, tmp_path: Path) -> None:
    write(tmp_path, {"futures.npz": data_files()["futures.npz"]})
    whole = (tmp_path / "futures.npz").read_bytes()
    (tmp_path / "futures.npz").write_bytes(whole[:length])
    with pytest.raises(ReportError, match=r"futures\.npz: damaged"):
        draw_report(tmp_path)


def test_imagined_frames_become_memory_only_where_they_are_spaced_alike() -> None:
    assert require_chainable(WAV_TINY.horizon) == 8
    with pytest.raises(ValueError, match="not evenly spaced"):
        require_chainable(WAV_2B.horizon)


def test_peak_signal_to_noise_against_the_closed_form() -> None:
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert peak_signal_to_noise(black, grey) == pytest.approx(20 * np.log10(5))
    assert peak_signal_to_noise(grey, grey) == pytest.approx(60)
