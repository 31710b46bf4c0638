"""Bad planner parameters are named."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from wav_models.configuration import from_dict
from wav_models.planner import PlannerConfig


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_iterations": -1}, "num_iterations is -1; an integer >= 0 fits"),
        ({"num_video_samples": 0}, "num_video_samples is 0; an integer >= 1 fits"),
        ({"num_value_samples": 2.0}, "num_value_samples is 2.0; an integer >= 1 fits"),
        ({"num_video_elites": 9}, "num_video_elites is 9; an integer from 1 to 8 (num_video_samples) fits"),
        ({"num_value_elites": 33}, "num_value_elites is 33; an integer from 1 to 32 (num_video_samples * num_value_"),
        ({"mean_update_rate": 1.1}, "mean_update_rate is 1.1; a number from 0 to 1 fits"),
        ({"min_std": -0.1}, "min_std is -0.1; a number >= 0 fits"),
        ({"min_std": float("nan")}, "min_std is nan; a number >= 0 fits"),
        ({"deadline": -1.0}, "deadline is -1.0; a number >= 0 fits"),
        ({"video_times": ()}, "video_times is (); rising flow times below 1 fit"),
        (
            {"video_times": (0.25,)},
            "(0.25,); rising flow times below 1 fit, the first 0 where share_first_step is False",
        ),
        ({"video_times": (0.0, 0.5), "share_first_step": True}, "the first above 0 where share_first_step is True"),
        ({"video_times": (0.0, 0.5, 0.5)}, "video_times is (0.0, 0.5, 0.5); rising flow times below 1 fit"),
        ({"video_times": (0.0, 1.0)}, "video_times is (0.0, 1.0); rising flow times below 1 fit"),
        ({"video_times": (0.0, float("nan"))}, "video_times is (0.0, nan); rising flow times below 1 fit"),
        ({"score": "sn"}, "unknown score 'sn'; did you mean 'snr'?"),
        ({"selection": "means"}, "unknown selection 'means'; did you mean 'mean'?"),
    ],
)
def test_value_error_names_argument_value_and_what_fits(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        PlannerConfig(**arguments)


def test_round_trip_through_plain_data() -> None:
    config = PlannerConfig(num_iterations=1, deadline=0.3)
    assert from_dict(PlannerConfig, asdict(config)) == config


def test_what_the_planner_of_a_checkpoint_leaves_out_stays_as_it_is() -> None:
    """A checkpoint's planner.json leaves out what is as here: another default would change its plans."""
    assert asdict(PlannerConfig()) == {
        "num_iterations": 3,
        "num_video_samples": 8,
        "num_value_samples": 4,
        "num_video_elites": 4,
        "num_value_elites": 8,
        "mean_update_rate": 0.9,
        "std_update_rate": 0.9,
        "min_std": 0.1,
        "score": "snr",
        "shared_value_noise": False,
        "snr_eps": 1e-6,
        "video_times": (0.0,),
        "share_first_step": False,
        "num_value_steps": 5,
        "num_action_steps": 5,
        "action_noise_std": 1.0,
        "selection": "sample",
        "deadline": None,
        "warm_start": False,
        "warm_start_min_std": 0.5,
    }


def test_with_fewer_samples_there_are_no_more_elites_than_samples() -> None:
    config = PlannerConfig(num_video_elites=4, num_value_elites=8)
    fewer = config.with_samples(num_video_samples=3, num_value_samples=2)
    assert (fewer.num_video_elites, fewer.num_value_elites) == (3, 6)
    assert config.with_samples(num_video_samples=2).num_value_elites == 8, "of all pairs"
    assert config.with_samples(16, 1) == replace(config, num_video_samples=16, num_value_samples=1)
