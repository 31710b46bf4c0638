from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from wav_models import project_files
from wav_models.configuration import ConfigurationError, from_dict, load
from wav_models.types import Observation
from wav_policy.policy.remote.mapping import MappingError, RemoteMapping, letterbox
from wav_policy.policy.remote.wire import pack, unpack
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

EXAMPLE = project_files.find("config/remote_openpi.yaml")
STATE = np.linspace(0.01, 0.14, JOINT_DIM)


@pytest.fixture
def mapping() -> RemoteMapping:
    return load(RemoteMapping, EXAMPLE)


def observation(mapping: RemoteMapping) -> Observation:
    images = np.arange(3 * np.prod([*mapping.image_size, 3])).astype(np.uint8).reshape(3, 1, *mapping.image_size, 3)
    return Observation(images, STATE, "fold the towel", 7.0)


def test_the_example_is_what_openpis_aloha_policies_take(mapping: RemoteMapping) -> None:
    message = mapping.request(observation(mapping))
    assert message["images"]["cam_high"].shape == (3, 224, 224)
    assert set(message["images"]) == {"cam_high", "cam_left_wrist", "cam_right_wrist"}
    assert message["prompt"] == "fold the towel"
    assert message["state"].shape == (14,)
    assert message["state"][6] == pytest.approx(STATE[6] / 0.07)
    assert message["state"][7] == pytest.approx(STATE[7])


@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_a_server_of_the_same_mapping_reads_what_is_sent(mapping: RemoteMapping, layout: Any) -> None:
    mapping = replace(mapping, image_layout=layout)
    sent = observation(mapping)
    images, state, instruction = mapping.observed(unpack(pack(mapping.request(sent)), 10**7))
    np.testing.assert_array_equal(images["left_wrist"], sent.images[1])
    np.testing.assert_allclose(state, STATE, atol=1e-12)
    assert instruction == sent.instruction


def test_the_mapping_itself_travels(mapping: RemoteMapping) -> None:
    assert from_dict(RemoteMapping, unpack(pack(asdict(mapping)), 10**6)) == mapping


def test_units_and_order_are_undone_in_the_answer(mapping: RemoteMapping) -> None:
    rows = STATE + 0.01 * np.arange(50)[:, None]
    found = mapping.chunk_rows({"actions": mapping.to_remote(rows).astype(np.float32)}, STATE, np.zeros(JOINT_DIM))
    np.testing.assert_allclose(found, rows, atol=1e-6)


def test_joints_the_policy_does_not_know_stay(mapping: RemoteMapping) -> None:
    right = replace(
        mapping, joints=tuple(reversed(JOINT_NAMES[7:])), scale={"right_joint1": -2.0}, offset={"right_joint1": 1.0}
    )
    rows = np.tile(STATE, (50, 1))
    rows[:, 7:] += 0.02
    found = right.chunk_rows({"actions": right.to_remote(rows)}, STATE, STATE + 0.3)
    np.testing.assert_allclose(found[:, 7:], rows[:, 7:])
    np.testing.assert_allclose(found[:, :7], rows[:, :7] + 0.3)
    assert right.to_remote(STATE)[-1] == pytest.approx(1.0 - 2.0 * STATE[7])


def good() -> np.ndarray:
    return np.tile(STATE, (50, 1))


def changed(row: int, joint: int, value: float) -> np.ndarray:
    rows = good()
    rows[row, joint] = value
    return rows


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "actions is missing; there is nothing"),
        ({"action": good(), "policy_timing": {"infer_ms": 3.0}}, "there is action, policy_timing/infer_ms"),
        ({"actions": [[0.0] * 14] * 50}, "actions is a list"),
        ({"actions": "up"}, "actions is a str"),
        ({"actions": good()[:, :8]}, r"shape \[50, 8\], of another robot"),
        ({"actions": good()[None]}, "of another robot"),
        ({"actions": good()[:40]}, "40 rows"),
        ({"actions": good().astype(bool)}, "actions is bool"),
        ({"actions": changed(3, 4, np.nan)}, "nan in row 3, left_joint5"),
        ({"actions": changed(49, 13, -np.inf)}, "-inf in row 49, right_gripper"),
        ({"actions": changed(7, 6, 1e300)}, "1e.300 in row 7, left_gripper"),
        ({"actions": changed(7, 9, 2.0)}, "moves right_joint3 at 9. rad/s after row [67]: no arm is that fast"),
        ({"actions": good().astype(np.float16) * np.float16(60000)}, "another unit|in row 0"),
        ({"actions": changed(0, 8, 1.5)}, "begins 1.41 rad from where right_joint2 is"),
        ({"actions": np.rad2deg(good())}, "another unit"),
    ],
)
def test_a_bad_answer_is_named(mapping: RemoteMapping, answer: dict[str, Any], message: str) -> None:
    plain = replace(mapping, scale={})
    with pytest.raises(MappingError, match=message):
        plain.chunk_rows(answer, STATE, STATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {"ceiling": "x"}}, "unknown view 'ceiling'.*Valid: head"),
        ({"images": {}}, "images is empty"),
        ({"images": {"head": "state"}}, "state has no place of its own"),
        ({"images": {"head": ["prompt", "x"]}}, "prompt has no place of its own"),
        ({"joints": ["left_joint1", "left_joint1"]}, "none twice"),
        ({"joints": ["left_elbow"]}, "unknown joint 'left_elbow'"),
        ({"scale": {"left_joint1": 0}}, "a scale is 0"),
        ({"num_execute_steps": 50}, "fewer than action_horizon"),
        ({"memory_offsets": [0, -3]}, "oldest first"),
        ({"step_hz": 0}, "step_hz"),
        ({"step_hz": 1e-9}, "step_hz is 1e-09; a number from 0.5 to 1000 fits"),
        ({"memory_offsets": [-1_000_000_000, 0]}, "memory_offsets go back 2e.07 s; at most 60 s fit"),
        ({"memory_offsets": list(range(-999, 1))}, "pictures of one question have 4.5e.08 bytes"),
        ({"images": {"head": 5000 * ["x"]}}, "x/x/x/... has 5000 names; 8 fit"),
        ({"timeout": 100}, "timeout"),
        ({"image_fit": "crop"}, "'pad' or 'stretch'"),
        ({"stepp_hz": 50}, "did you mean 'step_hz'"),
    ],
)
def test_a_wrong_file_is_refused_with_the_remedy(change: dict[str, Any], message: str) -> None:
    data = {**yaml.safe_load(EXAMPLE.read_text()), **change}
    with pytest.raises(ConfigurationError, match=message):
        from_dict(RemoteMapping, data, "file.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.zeros(7)}, r"state is float64 \[7\]; numbers \[14\] fit"),
        ({"state": np.full(14, np.nan)}, "not finite at left_joint1"),
        ({"prompt": 3}, "prompt is a int"),
        ({"images": {"cam_high": np.zeros((224, 224, 3), np.uint8)}}, r"uint8 \[3, H, W\] fits"),
        ({"images": {"cam_high": np.zeros((3, 8, 8))}}, "float64"),
        ({"images": 1}, "images/cam_high is missing"),
        ({"images": {"cam_high": np.zeros((5, 3, 8, 8), np.uint8)}}, "cam_high"),
    ],
)
def test_a_bad_question_is_named(mapping: RemoteMapping, change: dict[str, Any], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        mapping.observed({**mapping.request(observation(mapping)), **change})


@pytest.mark.parametrize("shape", [(240, 424, 3), (480, 320, 3), (224, 224, 3), (7, 500, 3)])
def test_padding_keeps_the_aspect_ratio(shape: tuple[int, int, int]) -> None:
    size = (224, 224)
    out = np.full((*size, 3), 9, np.uint8)
    padded = letterbox(np.full(shape, 200, np.uint8), size, out)
    assert np.shares_memory(padded, out)
    ys, xs = np.nonzero(padded[..., 0])
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    ratio = max(shape[0] / 224, shape[1] / 224)
    assert abs(height - shape[0] / ratio) <= 1
    assert abs(width - shape[1] / ratio) <= 1
    assert abs((224 - height) // 2 - ys[0]) <= 1
    assert cv2.countNonZero(padded[..., 0]) == height * width
