"""`wav arm` against the simulated firmware: shown, tried dry, refused, confirmed, done."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_policy.cli.main import main
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.errors import FlashLimitsError
from wav_policy.piper.flash_limits import VENDOR_LIMITS_DEGREES
from wav_policy.piper.frames import Frame, FrameId
from wav_policy.sim.firmware import FaultSet, Flash, SimulatedArm
from wav_policy.sim.firmware.flash import JOINT_LIMITS_DEGREES


class Bench:
    """One arm that is not driven by anybody."""

    def __init__(self, link: Path, flash: Flash | None = None, version: str = "S-V1.8-8") -> None:
        self.plant = KinematicArm()
        self.arm = SimulatedArm(self.plant, link, flash=flash, version=version)
        self.channel = str(link)

    def fail(self, faults: str) -> None:
        """Let the arm fail, long enough to be felt; "" heals it."""
        self.arm.faults = FaultSet.parse(faults)
        time.sleep(0.2)

    def drive(self, enables: bool = True) -> PiperArm:
        """Its driver, as piper_node has it: connected, motors on."""
        driver = PiperArm("left", "slcan", self.channel)
        driver.connect()
        if enables:
            driver.enable()
        return driver

    def run(self, *words: str) -> int:
        return main(["arm", *words, "--channel", self.channel])


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: object) -> Bench:
        made.append(Bench(tmp_path / f"arm{len(made)}", **options))  # type: ignore[arg-type]
        made[-1].arm.start()
        return made[-1]

    yield make
    for bench in made:
        bench.arm.stop()


@pytest.fixture
def confirm(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What the operator types."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(f"{text}\n"))


def corrupted() -> Flash:
    flash = Flash()
    flash.corrupt()
    return flash


def test_show_tells_all(make_bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]) -> None:
    flash = Flash(max_stroke=0.1)
    flash.crash_levels[2] = 0
    bench = make_bench(flash=flash, version="S-V1.8-6")
    assert bench.run("show") == 0
    told = capsys.readouterr().out
    for words in (
        "S-V1.8-6 loses the true joint angles",
        "follower",
        "NORMAL, mode STANDBY, 0 of 6 motors on",
        "35, 35, 35, 35, 35, 35 deg C",
        "off, zeroed, open by 30 mm, stroke 100 mm",
        "flash, deg",
        "joint3: collision protection is off",
        "-170.0 .. 0.0",
        "57.3",
    ):
        assert words in told, words


@pytest.mark.parametrize("fault", ["offset_ids", "leader", "silence"])
def test_show_of_an_arm_that_cannot_be_driven(
    make_bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    bench = make_bench()
    bench.arm.faults = FaultSet.parse(fault)
    assert bench.run("show") == 0
    told = capsys.readouterr().out
    assert ("0x3a" in told) if fault == "offset_ids" else ("a leader at rest" in told)


def test_show_tells_of_another_master(make_bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]) -> None:
    bench = make_bench()
    assert bench.run("show") == 0
    assert "it is sent targets" not in capsys.readouterr().out
    bench.arm.faults = FaultSet.parse("leader_on_bus")
    assert bench.run("show") == 0
    assert "follower; it is sent targets" in capsys.readouterr().out


CHANGES = {
    "restore-limits": (corrupted, lambda bench: bench.arm.flash.limits == Flash().limits),
    "stroke 100": (lambda: Flash(max_stroke=0.0), lambda bench: bench.arm.flash.max_stroke == 0.1),
    "collision-level 3": (Flash, lambda bench: bench.arm.flash.crash_levels == [3] * 6),
    "zero-gripper": (Flash, lambda bench: bench.arm.flash.gripper_zero == pytest.approx(0.03)),
    "zero 5": (Flash, lambda bench: bench.arm.flash.zeros == pytest.approx([0, 0, 0, 0, 0.5, 0], abs=1e-4)),
    "leader": (Flash, lambda bench: bench.arm.flash.is_leader),
    "follower": (lambda: Flash(feedback_offset=0x20), lambda bench: bench.arm.flash.feedback_offset == 0),
}


@pytest.mark.parametrize("command", CHANGES)
def test_changes_are_tried_confirmed_and_done(
    make_bench: Callable[..., Bench],
    confirm: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    make_flash, is_done = CHANGES[command]
    bench = make_bench(flash=make_flash())
    before = repr(bench.arm.flash)
    assert bench.run(*command.split(), "--dry-run") == 0
    assert "dry run: nothing was sent" in capsys.readouterr().out
    assert repr(bench.arm.flash) == before
    confirm("yes")
    assert bench.run(*command.split()) == 1
    assert "not confirmed" in capsys.readouterr().err
    assert repr(bench.arm.flash) == before
    confirm(bench.channel)
    assert bench.run(*command.split()) == 0, capsys.readouterr().err
    assert "done." in capsys.readouterr().out
    assert is_done(bench)


WRITES = (0x470, 0x474, 0x475, 0x47A, 0x47D, 0x159)


def is_write(number: int, data: bytes) -> bool:
    return number in WRITES or (number == FrameId.PARAMETER_QUERY and data[1] != 0)


@pytest.mark.parametrize("reaction", ["takes nothing", "loses its power"])
@pytest.mark.parametrize("command", [*CHANGES, "clear", "zero 1"])
def test_nothing_is_done_that_the_arm_does_not_confirm(
    make_bench: Callable[..., Bench],
    confirm: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    command: str,
    reaction: str,
) -> None:
    """Joint 1 is at 0 before: its angle alone would confirm a zero that was not taken."""
    bench = make_bench(flash=CHANGES[command][0]() if command in CHANGES else None)
    hear = bench.arm.firmware.on_frame

    def on_frame(number: int, data: bytes) -> None:
        if not is_write(number, data):
            hear(number, data)
        elif reaction == "loses its power":
            bench.arm.faults = FaultSet.parse("power_loss")

    bench.arm.firmware.on_frame = on_frame  # type: ignore[method-assign]
    confirm(bench.channel)
    assert bench.run(*command.split()) == 1
    told = capsys.readouterr()
    assert "sent, but" in told.err
    assert "done." not in told.out


def test_a_zero_that_does_not_show_is_not_done(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The arm says that it took one, of another joint."""
    bench = make_bench()
    hear = bench.arm.firmware.on_frame
    bench.arm.firmware.on_frame = (
        lambda number, data: hear(  # type: ignore[method-assign]
            number, bytes((2,)) + data[1:] if number == FrameId.JOINT_SETTING else data
        )
    )
    confirm(bench.channel)
    assert bench.run("zero", "5") == 1
    assert "joint5 is at 0.5" in capsys.readouterr().err


def test_clear_does_not_pass_over_what_it_cannot_clear(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    bench.fail("emergency_stop")
    confirm(bench.channel)
    assert bench.run("clear") == 1
    assert "state EMERGENCY_STOP, which piper/reset leaves" in capsys.readouterr().err


@pytest.mark.parametrize("stdin", [None, "", b"\xff\xfe\n"], ids=["closed", "at its end", "no text"])
def test_an_answer_that_is_none_sends_nothing(
    make_bench: Callable[..., Bench],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: str | bytes | None,
) -> None:
    bench = make_bench(flash=corrupted())
    given = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8") if isinstance(stdin, bytes) else io.StringIO(stdin)
    monkeypatch.setattr("sys.stdin", None if stdin is None else given)
    assert bench.run("restore-limits") == 1
    assert "not confirmed: nothing was sent" in capsys.readouterr().err
    assert bench.arm.flash.limits[0].upper < 0


def test_a_gripper_setting_that_is_not_told_is_not_overwritten(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    hear = bench.arm.firmware.on_frame
    bench.arm.firmware.on_frame = lambda number, data: (  # type: ignore[method-assign]
        None if number == FrameId.PARAMETER_QUERY else hear(number, data)
    )
    confirm(bench.channel)
    assert bench.run("stroke", "100") == 1
    assert "does not tell its gripper's setting" in capsys.readouterr().err
    assert bench.arm.flash.max_stroke == Flash().max_stroke


def test_another_stroke_leaves_the_pendants_coefficients_as_they_are(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None]
) -> None:
    bench = make_bench()
    firmware, heard = bench.arm.firmware, set()
    tick, hear = firmware.tick, firmware.on_frame

    def told(now: float) -> list[Frame]:
        return [
            (number, bytes((120, data[1], 3)).ljust(8, b"\0") if number == FrameId.GRIPPER_SETTING_REPLY else data)
            for number, data in tick(now)
        ]

    def listen(number: int, data: bytes) -> None:
        if number == FrameId.GRIPPER_SETTING:
            heard.add(data[:3])
        hear(number, data)

    firmware.tick, firmware.on_frame = told, listen  # type: ignore[method-assign]
    confirm(bench.channel)
    assert bench.run("stroke", "100") == 0
    assert heard == {bytes((120, 100, 3))}


def test_clear_keeps_the_power(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    bench.drive().close()
    bench.arm.faults = FaultSet.parse("gripper_trip")
    time.sleep(0.1)
    stroke = bench.plant.stroke
    confirm(bench.channel)
    assert bench.run("clear") == 0, capsys.readouterr().err
    assert not bench.arm.firmware._gripper_tripped
    assert bench.plant.powered
    assert bench.plant.stroke == stroke, "a gripper that is cleared moves nothing"


@pytest.mark.parametrize(
    ("command", "offset"), [("restore-limits", 0), ("zero 2", 0), ("follower", 0), ("follower", 0x20)]
)
def test_what_would_move_a_powered_arm_is_refused(
    make_bench: Callable[..., Bench],
    confirm: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    command: str,
    offset: int,
) -> None:
    """Also one that gives its feedback elsewhere: its motors tell on their own identifiers."""
    bench = make_bench()
    bench.drive().close()
    bench.arm.flash.feedback_offset = offset
    time.sleep(0.2)
    before = repr(bench.arm.flash)
    confirm(bench.channel)
    assert bench.run(*command.split()) == 1
    assert "joint1, joint2, joint3, joint4, joint5, joint6 hold the arm" in capsys.readouterr().err
    assert repr(bench.arm.flash) == before


@pytest.mark.parametrize("way", ["call piper/enable with data false", "switch their power off and on"])
def test_the_way_that_a_refused_enable_names_ends_at_an_enabled_arm(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str], way: str
) -> None:
    """From the hardest beginning: limits became impossible while the motors hold the arm."""
    bench = make_bench()
    driver = bench.drive()
    bench.fail("corrupt_limits")
    driver.read_flash()
    with pytest.raises(FlashLimitsError) as refused:
        driver.enable()
    bench.fail("")
    told = str(refused.value)
    command = re.search(r"end piper_node, then `wav arm ([^`]*)`", told)
    assert way in told
    assert command is not None

    def run() -> int:
        confirm(bench.channel)
        return main(["arm", *command[1].split()])

    assert run() == 1, "piper_node has the bus"
    if "piper/enable" in way:
        driver.disable()
    else:
        bench.fail("power_loss")
        bench.fail("")
    driver.close()
    assert run() == 0, capsys.readouterr().err
    driver.connect()
    driver.enable()
    assert bench.plant.powered
    driver.close()


def test_the_way_goes_on_after_the_node_was_ended_too_early(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    bench.drive().close()
    confirm(bench.channel)
    assert bench.run("restore-limits") == 1
    assert "or its power off and on" in capsys.readouterr().err
    bench.fail("power_loss")
    bench.fail("")
    confirm(bench.channel)
    assert bench.run("restore-limits") == 0, capsys.readouterr().err


def test_a_silent_arm_gets_no_change(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench()
    bench.arm.faults = FaultSet.parse("silence")
    confirm(bench.channel)
    assert bench.run("restore-limits") == 1
    assert "refused: it is not heard" in capsys.readouterr().err


def test_an_arm_that_somebody_drives_is_left_alone(
    make_bench: Callable[..., Bench], confirm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bench = make_bench(flash=corrupted())
    driver = bench.drive(enables=False)
    confirm(bench.channel)
    assert bench.run("restore-limits") == 1
    assert "is the channel of the left arm already" in capsys.readouterr().err
    assert bench.arm.flash.limits[0].upper < 0
    driver.close()


def test_a_joint_to_zero_must_be_named() -> None:
    with pytest.raises(SystemExit):
        main(["arm", "zero", "--channel", "/dev/null"])


def test_find_watches_which_arm_is_moved(make_bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]) -> None:
    benches = make_bench(), make_bench()

    def move() -> None:
        for bench, prompt in ((benches[1], "LEFT"), (benches[0], "RIGHT")):
            while prompt not in told.getvalue():
                time.sleep(0.02)
            time.sleep(0.2)
            bench.plant.position = bench.plant.position + np.array([0.2, 0, 0, 0, 0, 0])

    told = io.StringIO()
    threading.Thread(target=move, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", told)
        assert main(["arm", "find", "--seconds", "10", "--channel", *(bench.channel for bench in benches)]) == 0
    text = told.getvalue()
    assert f"left arm: {benches[1].channel}" in text
    assert f"right arm: {benches[0].channel}" in text
    assert "can_left:=" in text


def test_find_says_that_nothing_moved(make_bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]) -> None:
    bench = make_bench()
    assert main(["arm", "find", "--seconds", "0.2", "--channel", bench.channel]) == 1
    assert "the left one is not found" in capsys.readouterr().out


def test_find_says_which_arm_cannot_be_moved_by_hand(
    make_bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    silent, powered = make_bench(), make_bench()
    silent.fail("silence")
    powered.drive().close()
    assert main(["arm", "find", "--seconds", "0.2", "--channel", silent.channel, powered.channel]) == 1
    told = capsys.readouterr().out
    assert f"{silent.channel}: it is not heard" in told
    assert f"{powered.channel}: joint1, joint2, joint3, joint4, joint5, joint6 hold the arm, which cannot" in told


def test_the_vendors_limits_are_those_of_piper_sdk() -> None:
    """A second source than the simulated firmware: piper_sdk's own table of limits."""
    from piper_sdk import C_PiperInterface_V2

    sdk = C_PiperInterface_V2("limits", judge_flag=False, can_auto_init=False)
    told = [np.degrees(sdk.GetSDKJointLimitParam(f"j{joint}")) for joint in range(1, 7)]
    np.testing.assert_allclose(told, VENDOR_LIMITS_DEGREES, atol=0.1)  # it has 3.14 for pi
    assert VENDOR_LIMITS_DEGREES == JOINT_LIMITS_DEGREES
