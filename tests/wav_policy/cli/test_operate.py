"""`wav stop` and its siblings, on simulated arms, as an operator walks through them after an emergency stop."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import State, Transition  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from tests.wav_policy.nodes.arms_process import Probe, Robot  # noqa: E402
from tests.wav_policy.nodes.operated_robot import Robot as Operated  # noqa: E402
from wav_policy.cli.main import POWER_SWITCH, main  # noqa: E402
from wav_policy.cli.operate import (  # noqa: E402
    HOLD,
    HOME,
    STOP,
    Operation,
    UnconfirmedError,
    confirm,
    in_commands,
    operate,
)
from wav_policy.nodes.clients.system_client import Report  # noqa: E402
from wav_policy.piper.absent_arm import ABSENT  # noqa: E402

pytestmark = pytest.mark.ros


def wav(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wav_policy.cli", *arguments]
    return subprocess.run(
        command, cwd=repository, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture
def probe() -> Iterator[Probe]:
    rclpy.init()
    yield Probe()
    rclpy.shutdown()


@pytest.fixture
def around(probe: Probe) -> Iterator[Operated]:
    """A system that answers whatever is asked, and notes it."""
    robot, executor = Operated(), SingleThreadedExecutor()
    executor.add_node(robot.node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    robot.loop = ("holding: no_command", b"\0", "", "")
    yield robot
    executor.shutdown()
    thread.join(10.0)
    robot.node.destroy_node()


def test_hold_and_home_stop_whoever_leads_and_start_lets_them_go_on(repository: Path, around: Operated) -> None:
    """The page's buttons do the same."""
    around.states["policy_node"] = State.PRIMARY_STATE_ACTIVE
    told = {name: wav(repository, name) for name in ("hold", "home", "start")}
    assert [done.returncode for done in told.values()] == [0, 0, 0], told
    held, homed = ["piper/hold", "policy_node 4"], ["piper/hold", "piper/home"]
    assert around.called == [*held, *homed, "piper/enable", "policy_node 3"]
    assert "policy_node stopped leading; wav start goes on" in told["hold"].stdout
    assert "arms enabled, policy_node leads them" in told["start"].stdout


@pytest.mark.parametrize("command", ["hold", "home", "start"])
def test_nobody_leads_arms_that_refuse(repository: Path, around: Operated, command: str) -> None:
    around.states["policy_node"] = State.PRIMARY_STATE_INACTIVE if command == "start" else State.PRIMARY_STATE_ACTIVE
    around.refuse = "no"
    done = wav(repository, command)
    assert done.returncode == 1
    assert "refused: no" in done.stderr
    assert POWER_SWITCH in done.stderr
    assert around.called[1:] == ([] if command == "start" else ["policy_node 4"])


def test_without_a_system_nothing_is_confirmed(repository: Path) -> None:
    done = wav(repository, "stop")
    assert done.returncode == 1
    assert done.stderr.startswith(f"looking for /piper/stop. {POWER_SWITCH}\n")
    assert "there is no service /piper/stop in ROS domain" in done.stderr
    assert "NOT CONFIRMED" in done.stderr
    assert "power switch" in done.stderr


@pytest.mark.parametrize("command", ["stop", "hold", "home", "start", "enable", "reset --supported"])
@pytest.mark.parametrize(("domain", "code"), [("nonsense", 2), ("999", 2), ("5", 1)])
def test_whatever_goes_wrong_nothing_is_confirmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, domain: str, code: int
) -> None:
    """Also where ROS 2 is not there: its set-up was not sourced in this terminal."""
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    if code == 1:
        monkeypatch.setitem(sys.modules, "wav_policy.nodes.clients.system_client", None)
    assert main(command.split()) == code
    told = capsys.readouterr().err
    assert POWER_SWITCH in told
    assert ("source the set-ups of ROS 2" if code == 1 else f"ROS_DOMAIN_ID={domain}") in told


class Terminal(io.StringIO):
    """Somebody sits there."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stdin", [None, Terminal(""), Terminal("yes\n"), io.StringIO("supported\n")])
def test_a_reset_that_nobody_answers_for_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stdin: io.StringIO | None
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("wav_policy.cli.operate.operate", lambda *_: pytest.fail("a reset was sent"))
    assert main(["reset"]) == 2
    assert "nothing was done" in capsys.readouterr().err


class Client:
    """Hears nothing until it waits, as one that was answered before /diagnostics came."""

    def __init__(self, **messages: str) -> None:
        self.reports: dict[str, Report] = {}
        self._messages = messages
        self.then: Client | None = None

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        values = {"state": "EMERGENCY_STOP", "feedback_age_ms": "5", "outage": ""}
        for part, message in self._messages.items():
            name = f"piper_node: {part.replace('_', ' ')}"
            self.reports[name] = Report(message, {} if message == ABSENT else values)
        self._messages = self._messages if self.then is None else self.then._messages
        return condition()


@pytest.mark.parametrize("operation", [HOLD, HOME])
def test_a_hold_that_a_policy_ends_at_once_is_not_confirmed(operation: Operation) -> None:
    arms = {"left_arm": "enabled", "right_arm": "enabled"}
    client = Client(**arms, control_loop="holding: no_command")
    assert confirm(client, operation) == []  # type: ignore[arg-type]
    client.then = Client(**arms, control_loop="following the chunk")
    doubts = confirm(client, operation)  # type: ignore[arg-type]
    assert doubts[0] == "control loop says otherwise"
    assert "action_chunk" in doubts[1]


@pytest.mark.parametrize("is_found", [True, False])
@pytest.mark.parametrize("operation", [HOLD, HOME])
def test_whoever_is_found_late_is_stopped_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], operation: Operation, is_found: bool
) -> None:
    """A busy computer does not find policy_node at once, which leads the arms on."""
    arms = {"left_arm": "enabled", "right_arm": "enabled"}

    class LateFinder(Client):
        def __init__(self, *_: object) -> None:
            super().__init__(**arms, control_loop="following the chunk")
            self.halts = 0

        def halt(self) -> list[str]:
            self.halts += 1
            if self.halts < 2 or not is_found:
                return []
            self._messages = {**arms, "control_loop": "holding: no_command"}
            return ["policy_node"]

        def trigger(self, service: str, timeout: float) -> str:
            return "at home"

        def close(self) -> None:
            assert self.halts == 2

    monkeypatch.setattr("wav_policy.nodes.clients.system_client.SystemClient", LateFinder)
    if is_found:
        assert operate(operation) == 0
        assert "policy_node stopped leading" in capsys.readouterr().out
    else:
        with pytest.raises(UnconfirmedError, match="control loop says otherwise; whoever publishes action_chunk"):
            operate(operation)


def test_remedies_are_commands() -> None:
    assert in_commands("Support the arms, then call piper/reset and piper/enable.").endswith(
        "call wav reset and wav enable."
    )
    for others in (
        "there is no service /piper/stop",
        "stopped (piper/stop)",
        "call piper/enable with data false",
        "call piper/left/reset",
    ):
        assert in_commands(others) == others


def test_an_arm_that_is_left_out_is_not_waited_for() -> None:
    stopped = {"left_arm": "emergency stop", "control_loop": "stopped: piper/stop"}
    assert confirm(Client(**stopped, right_arm=ABSENT), STOP) == []  # type: ignore[arg-type]
    assert confirm(Client(**stopped), STOP) == ["right arm is silent"]  # type: ignore[arg-type]


def test_the_way_back_from_an_emergency_stop(repository: Path, tmp_path: Path, probe: Probe) -> None:
    robot = Robot(tmp_path, repository)
    try:
        for arm in robot.arms:
            arm.start()
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        assert probe.change_state(Transition.TRANSITION_ACTIVATE)

        def walk(*arguments: str, code: int = 0) -> str:
            done = wav(repository, *arguments)
            assert done.returncode == code, (arguments, done.stdout, done.stderr, robot.log.read_text())
            return done.stdout + done.stderr

        assert "control loop: holding" in walk("hold")
        assert "at home" in walk("home")
        said = walk("stop")
        assert "support the arms, wav reset, wav enable\n" in said
        assert "left arm: emergency stop\n" in said
        assert "right arm: emergency stop\n" in said
        assert "control loop: stopped: piper/stop\n" in said
        refused = "piper/enable refused: stopped (piper/stop): support the arms and call wav reset first"
        assert refused in walk("enable", code=1)
        assert "give --supported" in walk("reset", code=2)
        assert "left and right lost power" in walk("reset", "--supported")
        said = walk("enable")
        assert "left arm: enabled\n" in said
        assert "right arm: enabled\n" in said
        assert all(plant.powered for plant in robot.plants)
    finally:
        robot.close()
