"""What `wav record` does with a running recorder: take keys, or record simulated episodes unattended."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

from wav_models.progress import progress
from wav_models.words import counted
from wav_policy.recording.keyboard import Keyboard

if TYPE_CHECKING:
    from wav_policy.nodes.clients.recorder_client import RecorderClient

COMMANDS: Final = {
    "s": ("recorder/start", "start"),
    "e": ("recorder/stop", "end"),
    "y": ("recorder/stop_success", "end: success"),
    "n": ("recorder/stop_failure", "end: failure"),
    "d": ("recorder/discard", "discard"),
    "r": ("recorder/rerecord", "re-record"),
}
LAYOUT_KEY, QUIT_KEY = "l", "q"
KEYS: Final = "   ".join(f"[{key}] {verb}" for key, (_, verb) in COMMANDS.items())
_KEY_OF: Final = {service: key for key, (service, _) in COMMANDS.items()}
_SERVICE: Final = re.compile(rf"(call )?({'|'.join(_KEY_OF)})\b")

_SETTLE: Final = 1.0
"""Recorded after the task is done, so that an episode ends at rest [s]."""

_READY_TIMEOUT: Final = 60.0
_START_ATTEMPTS: Final = 5
_RETRY_AFTER: Final = 2.0
"""[s]"""
_REPORT_DELAY: Final = 0.3
"""Until /diagnostics tells the new state [s]."""
_REPORT_TIMEOUT: Final = 5.0
"""Until it tells it on a busy machine too [s]."""


def status_line(client: RecorderClient) -> str:
    """The recorder in one line."""
    report = client.recorder
    if not report.message.startswith("recording"):
        return f"○ {report.message}; {counted(_num_episodes(client), 'episode')}, {_disk(client)}"
    slow = "  BELOW THE RATE" if report.values["slow"] == "True" else ""
    seconds, rate, frames = (float(report.values[name]) for name in ("seconds", "rate", "frames"))
    return (
        f"● episode {report.values['episodes']}  {seconds:5.1f} s  {counted(round(frames), 'frame')}  "
        f"{rate:5.2f} Hz{slow}  {_disk(client)}  {report.values['instruction']}"
    )


def in_keys(text: str) -> str:
    """What the recorder says, with keys in place of the services that they call."""
    return _SERVICE.sub(lambda found: f"{'press ' if found[1] else ''}[{_KEY_OF[found[2]]}]", text)


def _num_episodes(client: RecorderClient) -> int:
    """In the dataset, as the recorder said last."""
    return int(client.recorder.values["episodes"])


def _disk(client: RecorderClient) -> str:
    minutes = client.recorder.number("minutes_left") or 0.0
    room = f" ({minutes / 60:.0f} h)" if minutes > 120 else f" ({minutes:.0f} min)" if minutes else ""
    return f"{(client.recorder.number('free_megabytes') or 0.0) / 1000:.1f} GB free{room}"


class KeyboardSession:
    """Keys to services until the user quits."""

    def __init__(self, client: RecorderClient) -> None:
        self._client = client
        self._started_with = 0
        self._sure = False

    def run(self, num_episodes: int) -> int:
        """Returns the exit code; ends by itself after `num_episodes` new ones, if not 0."""
        self._started_with = _num_episodes(self._client)
        layout = f"   [{LAYOUT_KEY}] next layout" if self._client.has_simulation else ""
        print(f"{KEYS}{layout}   [{QUIT_KEY}] quit")
        with Keyboard() as keyboard:
            while True:
                self._client.spin_until(lambda: False, 0.1)
                self._client.check()
                self._show(status_line(self._client))
                key = keyboard.read()
                if key == QUIT_KEY and self._may_quit():
                    break
                if key and key != QUIT_KEY:
                    self._sure = False
                    self._obey(key)
                if num_episodes and _num_episodes(self._client) - self._started_with >= num_episodes:
                    break
        total = _num_episodes(self._client)
        print(f"\n{counted(total - self._started_with, 'episode')} recorded, {total} in the dataset")
        return 0

    def _obey(self, key: str) -> None:
        from wav_policy.nodes.clients.system_client import ServiceError

        try:
            if key in COMMANDS:
                self._say(self._client.trigger(COMMANDS[key][0]))
                self._client.spin_until(lambda: False, _REPORT_DELAY)
                if key in "sr" and self._client.has_simulation:
                    self._say(self._client.trigger("sim/operate"))
            elif key == LAYOUT_KEY and self._client.has_simulation:
                self._say(self._client.trigger("sim/reset"))
        except ServiceError as error:
            self._say(str(error))

    def _may_quit(self) -> bool:
        """Whether nothing would be lost, or the user has said so twice."""
        recording = self._client.recorder.message.startswith("recording")
        if recording and not self._sure:
            self._say(f"an episode is being recorded: end it first, or press {QUIT_KEY} again to discard it")
            self._sure = True
            return False
        if recording:
            self._obey("d")
        return True

    def _say(self, text: str) -> None:
        """Print a line that stays."""
        print(f"\r\033[K{in_keys(text)}", flush=True)

    def _show(self, text: str) -> None:
        """Print the line that the next one overwrites."""
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:width]}", end="", flush=True)


class UnattendedSession:
    """The scripted operator records in the simulation, one layout per episode.

    Args:
        client: of the running system.
        seed: first layout.
        time_limit: of an episode without success [s].
    """

    def __init__(self, client: RecorderClient, seed: int, time_limit: float) -> None:
        self._client = client
        self._seed = seed
        self._time_limit = time_limit

    def run(self, num_episodes: int) -> int:
        """Returns the exit code: 0 when all episodes were recorded to their end, successful or not; else 1."""
        from wav_policy.nodes.clients.recorder_client import MANAGER

        outcomes: dict[int, bool | None] = {}
        with progress("recording") as tell:
            self._client.wait(self._is_active, _READY_TIMEOUT, lambda: self._why_not((MANAGER,)))
            self._client.trigger("piper/home", timeout=_READY_TIMEOUT)
            for seed in range(self._seed, self._seed + num_episodes):
                tell(len(outcomes), num_episodes)
                outcomes[seed] = self._record(seed)
        missing = [str(seed) for seed, success in outcomes.items() if success is None]
        episodes = counted(num_episodes, "episode")
        print(f"{sum(success is True for success in outcomes.values())} of {episodes} succeeded")
        if missing:
            print(f"cut, lost or discarded: {len(missing)} of {episodes}, seeds {', '.join(missing)}")
        return 1 if missing else 0

    def _record(self, seed: int) -> bool | None:
        """Success of the seed's episode; None when it was not recorded to its end."""
        from wav_policy.nodes.clients.recorder_client import RECORDER, TELEOPERATION
        from wav_policy.nodes.clients.system_client import WORLD

        client = self._client
        client.wait(lambda: WORLD in client.reports, _READY_TIMEOUT, lambda: "there is no simulation")
        is_laid_out = client.lay_out(seed)

        def ready() -> bool:
            follows = client.reports.get(TELEOPERATION)
            return is_laid_out() and follows is not None and follows.message == "following" and self._is_idle()

        client.wait(ready, _READY_TIMEOUT, lambda: self._why_not((WORLD, TELEOPERATION, RECORDER)))
        num_before = _num_episodes(client)
        self._start()
        client.wait(self._is_recording, _READY_TIMEOUT, lambda: self._why_not((RECORDER,)))
        client.trigger("sim/operate")
        client.spin_until(lambda: self._is_done() or not self._is_recording(), self._time_limit)
        client.check()
        client.spin_until(lambda: False, _SETTLE)
        success = self._is_done()
        ended, said = self._end(success)
        print(f"seed {seed}: {said}", flush=True)
        kept = ended and client.spin_until(lambda: _num_episodes(client) > num_before, _REPORT_TIMEOUT)
        return success if kept else None

    def _start(self) -> None:
        """A refusal may pass, such as a camera's that was late; it is said, and is final after `_START_ATTEMPTS`."""
        from wav_policy.nodes.clients.system_client import ServiceError

        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                self._client.trigger("recorder/start")
                return
            except ServiceError as error:
                if attempt == _START_ATTEMPTS:
                    raise
                print(f"{error}; attempt {attempt} of {_START_ATTEMPTS}", flush=True)
            self._client.spin_until(lambda: False, _RETRY_AFTER)
            self._client.check()

    def _end(self, success: bool) -> tuple[bool, str]:
        """Whether the episode was ended here, not by the recorder itself, and what became of it."""
        from wav_policy.nodes.clients.system_client import ServiceError

        if not self._is_recording():
            return False, self._client.recorder.values["last"]
        try:
            return True, self._client.trigger("recorder/stop_success" if success else "recorder/stop_failure")
        except ServiceError as error:
            return False, str(error)

    def _is_active(self) -> bool:
        from wav_policy.nodes.clients.recorder_client import MANAGER

        manager = self._client.reports.get(MANAGER)
        return manager is not None and manager.message == "all nodes active"

    def _is_idle(self) -> bool:
        return self._client.recorder.message == "ready"

    def _is_recording(self) -> bool:
        return self._client.recorder.message.startswith("recording")

    def _is_done(self) -> bool:
        from wav_policy.nodes.clients.system_client import WORLD

        return self._client.reports[WORLD].values["success"] == "True"

    def _why_not(self, names: tuple[str, ...]) -> str:
        reports = self._client.reports
        said = (f"{name}: {reports[name].message}" if name in reports else f"{name}: silent" for name in names)
        return f"not ready after {_READY_TIMEOUT:g} s: {'; '.join(said)}"
