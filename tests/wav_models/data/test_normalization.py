from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wav_models.data.normalization import (
    STD_FLOOR,
    VALUE_STD_FLOOR,
    Normalization,
    NormalizationError,
    symexp,
    symlog,
)
from wav_models.embodiments import BIMANUAL_PIPER

HORIZON = 5
RNG = np.random.default_rng(0)
STATES = RNG.normal(1.0, 0.5, size=(400, 14))
ACTIONS = STATES[:, None] + 0.1 * RNG.normal(size=(400, HORIZON, 14)) * np.arange(1, HORIZON + 1)[:, None]
FUTURE_STATES = STATES[:, None] + 0.05 * RNG.normal(size=(400, HORIZON, 14))
VALUES = RNG.normal(0.3, 2.0, size=(400, 17))


def fit() -> Normalization:
    return Normalization.fit(STATES, ACTIONS - STATES[:, None], FUTURE_STATES - STATES[:, None], VALUES, BIMANUAL_PIPER)


def test_encoded_training_data_is_standard_per_step() -> None:
    normalization = fit()
    x = normalization.encode_actions(ACTIONS, FUTURE_STATES, STATES)
    assert x.shape == (400, HORIZON, 28)
    for encoded in (x, normalization.encode_state(STATES), normalization.encode_values(VALUES)):
        np.testing.assert_allclose(encoded.mean(axis=0), 0.0, atol=1e-9)
        np.testing.assert_allclose(encoded.std(axis=0), 1.0, atol=1e-9)


def test_the_state_token_is_a_zero_per_action_and_the_state() -> None:
    token = fit().state_token(STATES)
    assert token.shape == (400, 1, 28)
    assert not token[..., :14].any()
    np.testing.assert_array_equal(token[:, 0, 14:], fit().encode_state(STATES))


def test_decoding_inverts_encoding() -> None:
    normalization = fit()
    x = normalization.encode_actions(ACTIONS, FUTURE_STATES, STATES)
    np.testing.assert_allclose(normalization.decode_actions(x, STATES), ACTIONS)
    np.testing.assert_allclose(normalization.decode_states(x, STATES), FUTURE_STATES)
    values = normalization.encode_values(VALUES)
    np.testing.assert_allclose(normalization.decode_values(values), VALUES)
    np.testing.assert_allclose(normalization.decode_returns(values[:, -1]), VALUES[:, -1])


def test_torch_and_numpy_agree_and_keep_their_kind() -> None:
    normalization = fit()
    arrays = [array.astype(np.float32) for array in (ACTIONS, FUTURE_STATES, STATES)]
    tensors = [torch.from_numpy(array) for array in arrays]
    x = normalization.encode_actions(*tensors)
    assert isinstance(x, torch.Tensor)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), normalization.encode_actions(*arrays), atol=2e-5)
    torch.testing.assert_close(normalization.decode_actions(x, tensors[2]), tensors[0], atol=2e-6, rtol=0)
    values = torch.from_numpy(VALUES)
    torch.testing.assert_close(normalization.decode_values(normalization.encode_values(values)), values)


def test_joints_that_stood_still_do_not_blow_up() -> None:
    """Both arms' grippers count metres, all other joints radians; values have a floor of their own."""
    still = np.ones((400, HORIZON, 14))
    normalization = Normalization.fit(np.ones((400, 14)), still, still, np.zeros((400, 17)), BIMANUAL_PIPER)
    floors = np.tile([STD_FLOOR["rad"]] * 6 + [STD_FLOOR["m"]], 2)
    np.testing.assert_array_equal(normalization.state_std, floors)
    for std in (normalization.action_diff_std, normalization.state_diff_std):
        np.testing.assert_array_equal(std, np.tile(floors, (HORIZON, 1)))
    np.testing.assert_array_equal(normalization.value_std, np.full(17, VALUE_STD_FLOOR))


def test_noise_of_what_stood_still_stays_small() -> None:
    """A tenth of the floors: 0.5 mrad of a joint, 0.05 mm of a gripper, and 0.001 of a value."""
    still = np.zeros((400, HORIZON, 14))
    normalization = Normalization.fit(np.zeros((400, 14)), still, still, np.zeros((400, 17)), BIMANUAL_PIPER)
    noise = np.tile([5e-4] * 6 + [5e-5], 2)
    np.testing.assert_allclose(normalization.encode_state(noise), 0.1)
    np.testing.assert_allclose(
        normalization.encode_actions(np.tile(noise, (HORIZON, 1)), still[0], still[0, 0])[:, :14], 0.1
    )
    np.testing.assert_allclose(normalization.encode_values(symexp(np.full(17, 1e-3))), 0.1)


def test_symlog_is_odd_and_logarithmic() -> None:
    x = np.array([-np.e + 1, -1e-3, 0.0, np.e - 1])
    np.testing.assert_allclose(symlog(x), [-1.0, -np.log1p(1e-3), 0.0, 1.0])
    np.testing.assert_allclose(symexp(symlog(x)), x)


def test_json_round_trip_is_exact(tmp_path: Path) -> None:
    normalization, path = fit(), tmp_path / "normalization.json"
    normalization.to_json(path)
    loaded = Normalization.from_json(path, BIMANUAL_PIPER)
    np.testing.assert_array_equal(loaded.action_diff_std, normalization.action_diff_std)
    assert loaded.action_horizon == HORIZON


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("value_mean"), r"missing \['value_mean'\]"),
        (lambda data: data.update(scale=[1.0]), r"unknown \['scale'\]"),
        (lambda data: data.update(state_std=[1.0] * 7), r"state_std: shape \[7\], expected \[14\]"),
        (lambda data: data["value_std"].__setitem__(3, 0.0), "value_std: every standard deviation"),
        (lambda data: data["value_mean"].__setitem__(3, float("nan")), "value_mean: not finite"),
        (lambda data: data.update(state_mean=None), "state_mean"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "normalization.json"
    fit().to_json(path)
    data = json.loads(path.read_text())
    change(data)  # type: ignore[operator]
    path.write_text(json.dumps(data))
    with pytest.raises(NormalizationError, match=f"normalization.json: .*{message}"):
        Normalization.from_json(path, BIMANUAL_PIPER)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NormalizationError, match=r"nowhere\.json"):
        Normalization.from_json(tmp_path / "nowhere.json", BIMANUAL_PIPER)
