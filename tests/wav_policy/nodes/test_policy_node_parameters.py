"""Parameters of the policy node: what it takes, what it refuses, and what becomes of the checkpoint's planner."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.parameter import Parameter  # noqa: E402

from wav_models.configuration import from_flat  # noqa: E402
from wav_policy.bringup.node_parameters import PolicyNodeConfig  # noqa: E402
from wav_policy.bringup.parameter_files import ParameterError, section  # noqa: E402
from wav_policy.nodes.policy_node import PolicyNode, load_policy  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    gc.collect()  # nodes that could not be made
    rclpy.try_shutdown()


def test_a_checkpoint_that_is_missing_leaves_the_node_unconfigured_with_the_reason(ros: None) -> None:
    parameters = [Parameter("checkpoint", value="/nonexistent/checkpoint")]
    node = PolicyNode(load_policy, parameter_overrides=parameters)
    assert node.trigger_configure().name == "FAILURE"
    (entry,) = node._report_planning()
    assert "/nonexistent/checkpoint" in entry.message
    node.close()


def test_an_unknown_parameter_is_refused_with_the_valid_ones(ros: None) -> None:
    with pytest.raises(ParameterError, match=r"replan_intervall.*did you mean 'replan_interval'"):
        PolicyNode(parameter_overrides=[Parameter("replan_intervall", value=4)])
    with pytest.raises(ValueError, match="image_transport"):
        PolicyNodeConfig(image_transport="theora")


def test_the_size_of_the_search_may_be_another_than_the_checkpoints(random_checkpoint: Path) -> None:
    config = PolicyNodeConfig(str(random_checkpoint), engine="torch", dtype="fp32", num_video_samples=2, num_threads=1)
    stored = load_policy(replace(config, num_video_samples=0)).planner
    planner = load_policy(config).planner
    assert (planner.num_video_samples, planner.num_value_samples) == (2, stored.num_value_samples)
    assert planner.num_video_elites == 2
    given = load_policy(replace(config, planner="num_iterations=0 video_times=[0.0,0.5] selection=mean")).planner
    assert given == replace(planner, num_iterations=0, video_times=(0.0, 0.5), selection="mean")
    with pytest.raises(ValueError, match="parameter 'planner'.*'num_iteration'; did you mean 'num_iterations'"):
        load_policy(replace(config, planner="num_iteration=0"))
    with pytest.raises(ValueError, match="num_value_samples is -1; a whole number of at least 0 fits"):
        from_flat(PolicyNodeConfig, {"num_value_samples": -1})


@pytest.mark.parametrize("name", ["policy.yaml", "cameras.yaml"])
def test_the_configuration_file_has_only_parameters_of_the_node(repository: Path, name: str) -> None:
    values = section(repository / "config" / name, "/policy_node")
    assert values
    from_flat(PolicyNodeConfig, values)
