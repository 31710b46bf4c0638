"""Bad planner parameters are named."""

from __future__ import annotations

import re
from typing import Any

import pytest

from wav_models.configuration import from_dict, to_dict
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
    assert from_dict(PlannerConfig, to_dict(config)) == config
