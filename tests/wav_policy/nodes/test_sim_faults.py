"""Faults injected into a running simulation from outside, by parameter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from wav_policy.nodes.clients.system_client import WORLD, ServiceError, SystemClient
from wav_policy.piper.arm import PiperArm

pytestmark = [pytest.mark.ros, pytest.mark.sim]


@pytest.fixture
def links(tmp_path: Path, repository: Path) -> Iterator[tuple[Path, Path]]:
    """Where a running sim_node has put its arms."""
    links = tmp_path / "left", tmp_path / "right"
    command = [sys.executable, "-m", "wav_policy.nodes.sim_node", "--ros-args", "-p", "image_rate:=2.0"]
    command += ["-p", f"can_left:={links[0]}", "-p", f"can_right:={links[1]}"]
    process = subprocess.Popen(command, cwd=repository)
    yield links
    process.terminate()
    assert process.wait(timeout=20) == 0


def test_an_arm_fails_and_heals_by_parameter(links: tuple[Path, Path]) -> None:
    client = SystemClient()
    try:
        assert client.spin_until(lambda: links[1].exists(), 60.0)
        driver = PiperArm("left", "slcan", str(links[0]))
        driver.connect()
        with pytest.raises(ServiceError, match="did you mean 'bus_off'"):
            client.set_parameter("sim_node", "fault.left", "bus_of")
        client.set_parameter("sim_node", "fault.left", "bus_off")
        assert client.spin_until(lambda: "bus-off" in driver.status().outage, 20.0)
        assert client.reports["sim_node: world"].values["fault_left"] == "bus_off"
        client.set_parameter("sim_node", "fault.left", "")
        assert client.spin_until(lambda: driver.status().outage == "", 20.0)
        driver.close()
    finally:
        client.close()


def test_an_older_layout_of_the_same_seed_is_not_taken_for_the_new_one(links: tuple[Path, Path]) -> None:
    client = SystemClient()
    try:
        assert client.spin_until(lambda: WORLD in client.reports, 60.0)
        assert client.spin_until(lambda: (client.reports[WORLD].number("episode_time") or 0.0) > 4.0, 20.0)
        seed = client.reports[WORLD].values["seed"]
        is_laid_out = client.lay_out(int(seed))
        assert client.spin_until(is_laid_out, 20.0)
        assert client.reports[WORLD].values["seed"] == seed
        assert (client.reports[WORLD].number("episode_time") or 0.0) < 4.0
    finally:
        client.close()


@pytest.mark.parametrize("seed", [-1, 2**63 - 1])
def test_a_seed_that_is_none_is_refused_and_the_simulation_goes_on(links: tuple[Path, Path], seed: int) -> None:
    client = SystemClient()
    try:
        assert client.spin_until(lambda: WORLD in client.reports, 60.0)
        with pytest.raises(ServiceError, match=f"sim_node refused next_seed = {seed}"):
            client.set_parameter("sim_node", "next_seed", seed)
        assert client.spin_until(client.lay_out(2**63 - 2), 20.0), "the last one there is"
        client.trigger("sim/reset")
        assert client.spin_until(client.lay_out(0), 20.0)
    finally:
        client.close()
