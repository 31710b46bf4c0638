"""The states of the control loop and what leads from one to another.

Only the loop's own thread changes the state, in `ControlLoop._go`. Services and subscriptions post events
(`wav_policy.control.mailbox`); the loop finds the rest by itself: what the arms say, what it measures, errors.

The table stands in the docstring of `ControlLoop`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from wav_policy.piper.inhibits import Reaction


class Phase(Enum):
    """What the control loop is about."""

    IDLE = "idle"
    """Reads; commands nothing until `engage`."""
    FOLLOWING = "following"
    """Follows chunks; holds while there is none."""
    MOVING = "moving"
    """On a calm motion; chunks are ignored."""
    WAITING = "waiting"
    """Brakes and holds until nothing is in the way, every arm hears, and all rests."""
    PAUSED = "paused"
    """As `WAITING`, with a calm motion that goes on afterwards."""
    HELD = "held"
    """A joint did not follow, or jumped: holds where the arms are until `engage`."""
    LEAVING = "leaving"
    """Brakes until the arms rest, then commands nothing: somebody asked for it."""
    RELEASING = "releasing"
    """Brakes, then commands nothing: an arm has left our control."""
    RELEASED = "released"
    """An arm left our control, or is not where it was: commands nothing until `engage`."""
    STOPPING = "stopping"
    """Brakes after a fault; latched."""
    STOPPED = "stopped"
    """Commands nothing until `reset` and `engage`."""

    @property
    def commands(self) -> bool:
        """Whether targets are sent."""
        return self not in (Phase.IDLE, Phase.RELEASED, Phase.STOPPED)

    @property
    def brakes(self) -> bool:
        """Whether it ends by itself once the target rests."""
        return self in (Phase.LEAVING, Phase.RELEASING, Phase.STOPPING)

    @property
    def is_stopped(self) -> bool:
        """Whether only `reset` leads on."""
        return self in (Phase.STOPPING, Phase.STOPPED)


class Trigger(Enum):
    """What may change the phase."""

    ENGAGE = "piper/enable"
    DISENGAGE = "asked to brake and let go"
    TRIP = "piper/stop"
    RESET = "piper/reset"
    HOLD = "piper/hold"
    MOVE = "a calm motion begins"
    ARRIVE = "the calm motion is over"
    INTERRUPT = "an arm is not heard or does not hear, or a clock was set"
    INHIBIT = "an arm must not be moved for now"
    CLEAR = "nothing is in the way, all rests"
    MOVED = "an arm is not where it was left"
    LAG = "a joint does not follow"
    JUMP = "a joint is measured where it cannot have got to"
    RELEASE = "an arm has left our control"
    FAULT = "an arm reports a fault, or a tick failed"
    SILENCE = "another master commands an arm"
    REST = "the target rests, or nobody waits for that any longer"


_NEXT: Final[dict[Phase, dict[Phase, tuple[Trigger, ...]]]] = {
    Phase.IDLE: {Phase.FOLLOWING: (Trigger.ENGAGE,), Phase.STOPPED: (Trigger.FAULT, Trigger.TRIP)},
    Phase.FOLLOWING: {
        Phase.MOVING: (Trigger.MOVE,),
        Phase.WAITING: (Trigger.INTERRUPT, Trigger.INHIBIT),
        Phase.HELD: (Trigger.LAG, Trigger.JUMP),
    },
    Phase.MOVING: {
        Phase.FOLLOWING: (Trigger.ENGAGE, Trigger.HOLD, Trigger.ARRIVE),
        Phase.PAUSED: (Trigger.INTERRUPT,),
        Phase.WAITING: (Trigger.INHIBIT,),
        Phase.HELD: (Trigger.LAG, Trigger.JUMP),
    },
    Phase.WAITING: {
        Phase.FOLLOWING: (Trigger.ENGAGE, Trigger.CLEAR),
        Phase.HELD: (Trigger.JUMP,),
        Phase.RELEASED: (Trigger.MOVED,),
    },
    Phase.PAUSED: {
        Phase.FOLLOWING: (Trigger.ENGAGE,),
        Phase.MOVING: (Trigger.CLEAR,),
        Phase.WAITING: (Trigger.HOLD, Trigger.ARRIVE, Trigger.INHIBIT),
        Phase.HELD: (Trigger.JUMP,),
        Phase.RELEASED: (Trigger.MOVED,),
    },
    Phase.HELD: {Phase.FOLLOWING: (Trigger.ENGAGE,), Phase.RELEASED: (Trigger.MOVED,)},
    Phase.LEAVING: {Phase.FOLLOWING: (Trigger.ENGAGE,), Phase.IDLE: (Trigger.REST,)},
    Phase.RELEASING: {Phase.FOLLOWING: (Trigger.ENGAGE,), Phase.RELEASED: (Trigger.REST,)},
    Phase.RELEASED: {Phase.FOLLOWING: (Trigger.ENGAGE,), Phase.STOPPED: (Trigger.FAULT, Trigger.TRIP)},
    Phase.STOPPING: {Phase.STOPPED: (Trigger.REST,)},
    Phase.STOPPED: {},
}


def _transitions() -> Iterator[tuple[tuple[Phase, Trigger], Phase]]:
    for phase, following in _NEXT.items():
        for next_phase, triggers in following.items():
            for trigger in triggers:
                yield (phase, trigger), next_phase
        if phase is not Phase.IDLE:
            yield (phase, Trigger.RESET), Phase.IDLE
        if not phase.commands:
            continue
        if phase is not Phase.STOPPING:
            yield (phase, Trigger.FAULT), Phase.STOPPING
            if phase is not Phase.RELEASING:
                yield (phase, Trigger.RELEASE), Phase.RELEASING
            if not phase.brakes:
                yield (phase, Trigger.DISENGAGE), Phase.LEAVING
        yield (phase, Trigger.TRIP), Phase.STOPPED
        yield (phase, Trigger.SILENCE), Phase.STOPPED


TRANSITIONS: Final = dict(_transitions())
"""The table. Every pair of phase and trigger that it does not have leaves the phase as it is."""

TRIGGERS: Final = {
    Reaction.PAUSE: Trigger.INTERRUPT,
    Reaction.HOLD: Trigger.INHIBIT,
    Reaction.RELEASE: Trigger.RELEASE,
    Reaction.STOP: Trigger.FAULT,
    Reaction.SILENCE: Trigger.SILENCE,
}
"""What an inhibit triggers, by its reaction."""
