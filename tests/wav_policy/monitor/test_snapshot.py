"""The words and numbers that the page makes of reports and recordings."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg

from wav_models.types import ActionChunk
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.snapshot import (
    CONTROL,
    OK,
    RECORDER,
    WARN,
    ReplayPlace,
    Snapshot,
    StatusReport,
    numbers,
    state_lines,
)
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, REVOLUTE

PLAYBACK = ReplayPlace(0.0, 1.0, playing=False, speed=1.0, step=0.1)


@pytest.mark.parametrize(
    ("message", "values", "said"),
    [
        ("ready", {"episodes": "4", "seconds": "0"}, "ready; 4 episodes in the dataset"),
        ("recording", {"episodes": "4", "seconds": "12.3456"}, "recording, 12.3 s; 4 episodes in the dataset"),
        ("ready", {"episodes": "1"}, "ready; 1 episode in the dataset"),
        ("ready", {"episodes": "inf"}, "ready"),
        ("cannot record: no episode; call recorder/start", {}, "cannot record: no episode; press Record"),
    ],
)
def test_the_recorder_says_what_it_does(message: str, values: dict[str, str], said: str) -> None:
    lines = state_lines(Snapshot(reports={RECORDER: StatusReport(WARN, message, values)}))
    assert [(line.level, line.text) for line in lines if line.name == "Recorder"] == [("warn", said)]


def test_nothing_is_said_of_a_recorder_that_is_not_there() -> None:
    assert "Recorder" not in [line.name for line in state_lines(Snapshot())]
    assert state_lines(Snapshot(playback=PLAYBACK)) == []


def test_a_plan_is_held_against_what_was_recorded_as_far_as_that_goes() -> None:
    planned, recorded = np.zeros((16, JOINT_DIM)), np.zeros((3, JOINT_DIM))
    recorded[:, REVOLUTE], recorded[:, GRIPPERS] = 0.1, -0.004
    planned[3:] = 9.0  # after the end of the recording
    snapshot = Snapshot(
        chunk=ActionChunk(planned, 0.0, 0.1),
        recorded_actions=recorded,
        values=np.array([0.2, 0.4, 9.0]),
        recorded_values=np.array([0.5, 0.6]),
    )
    assert numbers(snapshot) == [
        ("joints, plan against recording", "0.100 rad"),
        ("grippers, plan against recording", "4.0 mm"),
        ("return, predicted and recorded", "0.300 and 0.550"),
    ]
    nothing = np.zeros((0, JOINT_DIM))
    assert numbers(Snapshot(chunk=snapshot.chunk, recorded_actions=nothing, recorded_values=np.zeros(0))) == []


def test_numbers_have_names_in_words() -> None:
    report = StatusReport(OK, "planning", {"plan_ms_p50": "216.4", "rounds": "3"})
    assert numbers(Snapshot(reports={"policy_node: planning": report})) == [
        ("half of the plans within", "216 ms"),
        ("rounds in the newest plan", "3"),
    ]


@pytest.mark.parametrize("said", ["fast", "", "0x10", "1,5", "nan", "1e999"])
def test_a_number_that_is_none_costs_its_line_and_not_the_page(said: str) -> None:
    loop = StatusReport(0, "following the chunk", {"control_rate_hz": said, "lateness_p99_ms": "1.2"})
    recorder = StatusReport(0, "recording", {"seconds": said, "episodes": said})
    snapshot = Snapshot(reports={CONTROL: loop, RECORDER: recorder})
    assert ("99 % of its ticks late by up to", "1.2 ms") in numbers(snapshot)
    assert state_lines(snapshot)[-1].text.startswith("recording")


@pytest.mark.parametrize("shape", [(1, 16_384), (16_384, 1), (1, 1), (2, 3000), (480, 640), (2160, 3840)])
def test_a_picture_of_any_shape_fits_the_page(shape: tuple[int, int]) -> None:
    page = MonitorPage(Nobody())
    page.show(Snapshot(real={"head": np.zeros((*shape, 3), np.uint8)}))
    _, jpeg = page._pictures["real head"]
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    assert 1 <= height <= 240
    assert 1 <= width <= 1920
    page.close()


class Nobody:
    """Obeys nothing."""

    def obey(self, command: str, text: str = "") -> str:
        raise AssertionError(command)
