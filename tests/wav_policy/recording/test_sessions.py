"""What `wav record --unattended` makes of a recorder that keeps, cuts, loses or discards episodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy")

from wav_policy.cli.record_sessions import UnattendedSession, in_keys
from wav_policy.nodes.clients.recorder_client import RECORDER, TELEOPERATION
from wav_policy.nodes.clients.system_client import WORLD, Report, ServiceError


class FakeClient:
    """A system whose recorder does to the episode of a layout what `fates` says; else it keeps it."""

    def __init__(self, fates: dict[int, str]) -> None:
        self.reports = {
            "lifecycle_manager: nodes": Report("all nodes active", {}),
            TELEOPERATION: Report("following", {}),
            WORLD: Report("", {"success": "True"}),
        }
        self._fates = fates
        self._seed = 0
        self._say("ready", 0, "")

    @property
    def recorder(self) -> Report:
        return self.reports[RECORDER]

    def wait(self, condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
        assert condition(), otherwise

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        return condition()

    def check(self) -> None:
        pass

    def lay_out(self, seed: int) -> Callable[[], bool]:
        self._seed = seed
        return lambda: True

    def trigger(self, service: str, timeout: float = 0.0) -> str:
        episodes, fate = int(self.recorder.values["episodes"]), self._fates.get(self._seed)
        if service == "recorder/start":
            return self._say("recording", episodes, "recording")
        if service == "sim/operate" and fate == "cut":
            return self._say("ready", episodes + 1, "episode kept. NOTE: cut: head stopped.")
        if service == "recorder/stop_success":
            self._say("ready", episodes + (fate is None), f"episode {fate or 'kept'}")
            if fate == "lost":
                raise ServiceError("recorder/stop_success refused: the episode is lost")
        return self.recorder.values["last"]

    def _say(self, message: str, episodes: int, last: str) -> str:
        self.reports[RECORDER] = Report(message, {"episodes": str(episodes), "last": last})
        return last


@pytest.mark.parametrize(
    ("fates", "code", "said"),
    [
        ({}, 0, "3 of 3 episodes succeeded\n"),
        ({2: "cut"}, 1, "1 of 3 episodes, seeds 2\n"),
        (
            {1: "lost", 3: "discarded"},
            1,
            "cut, lost or discarded: 2 of 3 episodes, seeds 1, 3\n",
        ),
    ],
)
def test_the_exit_code_says_whether_all_episodes_were_recorded(
    capsys: pytest.CaptureFixture[str], fates: dict[int, str], code: int, said: str
) -> None:
    session = UnattendedSession(FakeClient(fates), seed=1, time_limit=1.0)  # type: ignore[arg-type]
    assert session.run(3) == code
    assert capsys.readouterr().out.endswith(said)


def test_the_keyboard_speaks_of_keys() -> None:
    assert in_keys("recorder/rerecord refused: none to record again; call recorder/start") == (
        "[r] refused: none to record again; press [s]"
    )
    assert in_keys("recorder/stop_success refused: none") == "[y] refused: none"
