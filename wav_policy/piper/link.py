"""The connection to one arm: opens the bus, watches it, says what is wrong with it, and opens it again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import can
from piper_sdk import C_PiperInterface_V2, LogLevel

from wav_policy.piper.adapters import find_channel
from wav_policy.piper.bus import ArmBus, open_bus
from wav_policy.piper.diagnosis import explain_silence
from wav_policy.piper.errors import ArmInUseError, BusLostError, PiperError
from wav_policy.piper.feedback import ArmFeedback, FeedbackReader
from wav_policy.piper.frames import Frame

_POLL: Final = 0.02  # s
_ANSWER_TIME: Final = 0.05  # s an adapter has to tell its condition
_FIRST_WAIT: Final = 0.2  # s until the first attempt to open a bus again
_LONGEST_WAIT: Final = 2.0  # s


class ArmLink:
    """Bus, piper_sdk and reading thread of one arm. After `open` a thread keeps them alive until `close`.

    Args:
        side: "left" or "right"; names the arm in messages.
        interface: "socketcan" or "slcan".
        channel: such as "can0" or "/dev/ttyACM0".
        connect_timeout: wait in `open` for the first feedback of every kind [s].
        feedback_timeout: a bus without joint feedback for this long is out [s].
        clock: of all stamps and ages; must not be one that can be set [s].
        on_feedback: called in the reading thread after every reading; must not raise.
        usb_serial: of the adapter, which is then found whatever it is called; "" believes the channel's name.

    Attributes:
        channel: where the bus was opened last; before that, as it was given.
        reconnects: how often the bus was opened again.
    """

    def __init__(
        self,
        side: str,
        interface: str,
        channel: str,
        connect_timeout: float,
        feedback_timeout: float,
        clock: Callable[[], float],
        on_feedback: Callable[[], None],
        usb_serial: str = "",
    ) -> None:
        self.reconnects = 0
        self.channel = channel
        self._side = side
        self._interface = interface
        self._channel = channel
        self._usb_serial = usb_serial
        self._connect_timeout = connect_timeout
        self._feedback_timeout = feedback_timeout
        self._clock = clock
        self._on_feedback = on_feedback
        self._lock = threading.Lock()  # piper_sdk assembles every outgoing frame in one shared object
        self._sdk: C_PiperInterface_V2 | None = None
        self._bus: ArmBus | None = None
        self._reader: FeedbackReader | None = None
        self._diagnosis = ""
        self._worked = False
        self._open_error = PiperError(f"{self.name}: not connected")
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def name(self) -> str:
        """With interface and channel."""
        return f"{self._side} arm ({self._interface} '{self.channel}')"

    def open(self) -> None:
        """Open the bus and wait for feedback. Moves and powers nothing.

        Raises:
            ArmInUseError, InterfaceNotFoundError, BusSilentError, ChangedIdsError, LeaderArmError: see the classes.
        """
        self.listen()
        try:
            self._await_first_feedback(self.reader)
        except PiperError:
            self.close()
            raise
        self._worked = True
        self._watch_from_now_on()

    def listen(self) -> None:
        """Open the bus whatever comes on it, and open it again no more: for an arm that cannot be driven as it is.

        Raises:
            ArmInUseError, InterfaceNotFoundError, BusOffError, WrongBitrateError: as `open_bus`.
        """
        if self._sdk is not None:
            raise ArmInUseError(f"{self.name}: connected already")
        bus = self._open_bus()
        self._sdk = _sdk_without_bus(self._channel)
        self._start_reading(bus)

    def _watch_from_now_on(self) -> None:
        self._closing.clear()
        self._watcher = threading.Thread(target=self._watch, name=f"{self.name} link", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Close the bus. The arm keeps its last set-point and its power."""
        self._closing.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._sdk is None:
            return
        self._stop_reading()
        with C_PiperInterface_V2._lock:  # the SDK caches one instance per channel, with its stale feedback
            C_PiperInterface_V2._instances.pop(self._channel, None)
        self._sdk = self._reader = self._watcher = None
        self._worked = False

    @property
    def latest(self) -> ArmFeedback | None:
        """The newest joint feedback; None before the first and while not connected."""
        reader = self._reader
        return None if reader is None else reader.latest

    @property
    def reader(self) -> FeedbackReader:
        """Of the bus as it was opened last.

        Raises:
            PiperError: not connected.
        """
        if self._reader is None:
            raise PiperError(f"{self.name}: not connected")
        return self._reader

    @property
    def sdk(self) -> C_PiperInterface_V2:
        """For what it has decoded; to send with it, use `sending`.

        Raises:
            PiperError: not connected.
        """
        if self._sdk is None:
            raise PiperError(f"{self.name}: not connected")
        return self._sdk

    @property
    @contextmanager
    def sending(self) -> Iterator[C_PiperInterface_V2]:
        """piper_sdk for the one thread that may send now.

        Raises:
            BusLostError: the bus is out.
            PiperError: not connected.
        """
        with self._lock:
            if self._bus is None:
                raise BusLostError(f"{self.name}: {self.outage or 'the bus is closed'}")
            yield self.sdk

    def transmit(self, frames: list[Frame]) -> None:
        """Send frames, without piper_sdk.

        Raises:
            BusLostError: there is no bus, or it does not take them.
        """
        with self._lock:
            if self._bus is None:
                raise BusLostError(f"{self.name}: the bus is closed")
            try:
                self._bus.transmit(frames)
            except (can.CanError, OSError) as error:
                raise BusLostError(f"{self.name}: the bus takes no frames: {error}") from error

    @property
    def local_setpoints(self) -> int:
        """Of other programs on this computer, since the bus was opened."""
        bus = self._bus
        return 0 if bus is None else bus.local_setpoints

    @property
    def outage(self) -> str:
        """Why no feedback comes and how to go on; "" while it does."""
        reader = self.reader
        if reader.lost is None and reader.age <= self._feedback_timeout and not reader.missing:
            return ""
        return self._diagnosis or f"{self.name}: waiting for feedback of {', '.join(reader.missing) or 'joints'}"

    def _is_silent(self) -> bool:
        return self._bus is None or self.reader.lost is not None or self.reader.age > self._feedback_timeout

    def _watch(self) -> None:
        """Say what is wrong while the bus is silent, and open it again: after 0.2 s, then ever more rarely."""
        wait = _FIRST_WAIT
        while not self._closing.wait(_POLL):
            try:
                wait = self._look_after(wait)
            except Exception:  # whatever it is, it must not end the watch
                logging.getLogger(__name__).exception("%s: watching the bus failed; going on", self.name)
                self._closing.wait(_LONGEST_WAIT)

    def _look_after(self, wait: float) -> float:
        """Open a silent bus again after `wait` [s]; the next wait."""
        if not self._is_silent():
            self._diagnosis = ""
            return _FIRST_WAIT
        self._diagnosis = str(self._explain())
        if not self._closing.wait(wait) and self._is_silent():
            self._open_again()
            self._closing.wait(self._feedback_timeout)
        return min(2.0 * wait, _LONGEST_WAIT)

    def _explain(self) -> PiperError:
        bus = self._bus
        if bus is None:
            return self._open_error
        if self.reader.lost is None:
            try:
                bus.ask_condition()
                time.sleep(_ANSWER_TIME)
            except Exception:  # an adapter that is gone shows in the reader
                pass
        return explain_silence(self.name, self.reader, bus.condition(), self._worked)

    def _open_again(self) -> None:
        self._stop_reading()
        try:
            bus = self._open_bus()
        except PiperError as error:
            self._open_error = error
            return
        self.reconnects += 1
        self._start_reading(bus)

    def _open_bus(self) -> ArmBus:
        try:
            self.channel = find_channel(self._interface, self._channel, self._usb_serial)
            return open_bus(self._interface, self.channel, f"{self._side} arm")
        except PiperError as error:
            raise type(error)(f"{self._side} arm: {error}") from error

    def _start_reading(self, bus: ArmBus) -> None:
        with self._lock:
            sdk = self.sdk
            transport = sdk.GetCanBus()
            transport.recv_bus = transport.send_bus = bus
            self._bus = bus
            self._reader = FeedbackReader(
                bus, sdk, self.name, self._clock, self._on_feedback, max_gap=self._feedback_timeout
            )
            self._reader.start()

    def _stop_reading(self) -> None:
        """Whoever sends is refused from here on, and does not wait for the reading to end."""
        with self._lock:
            bus, self._bus = self._bus, None
        if self._reader is not None:
            self._reader.stop()
        if bus is not None:
            bus.shutdown()

    def _await_first_feedback(self, reader: FeedbackReader) -> None:
        deadline = time.monotonic() + self._connect_timeout
        while reader.missing or reader.latest is None:
            if reader.lost is not None or time.monotonic() > deadline:
                raise self._explain()
            time.sleep(_POLL)


def _sdk_without_bus(channel: str) -> C_PiperInterface_V2:
    """piper_sdk that is still to be given a bus.

    The SDK opens every channel twice and, for slcan, sleeps 2 s each time; its transport takes any python-can bus, so
    it is opened on the in-memory bus first.
    """
    sdk = C_PiperInterface_V2(
        channel, judge_flag=False, can_auto_init=False, logger_level=LogLevel.CRITICAL, start_sdk_joint_limit=False
    )
    sdk.CreateCanBus(channel, bustype="virtual", judge_flag=False)
    sdk.GetCanBus().Close()
    return sdk
