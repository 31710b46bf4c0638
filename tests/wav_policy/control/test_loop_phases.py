"""The table that is read is the table that runs."""

from __future__ import annotations

from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_phases import TRANSITIONS, Phase, Trigger


def documented() -> dict[tuple[Phase, Trigger], Phase]:
    found: dict[tuple[Phase, Trigger], Phase] = {}
    for line in (ControlLoop.__doc__ or "").splitlines():
        cells = [cell.strip().split(", ") for cell in line.strip("| ").split("|")]
        if len(cells) != 3 or cells[0][0] not in Phase.__members__:
            continue
        for key in ((Phase[phase], Trigger[trigger]) for phase in cells[0] for trigger in cells[1]):
            assert key not in found, f"{line}: {key} twice"
            found[key] = Phase[cells[2][0]]
    return found


def test_the_documented_table_is_the_one_that_runs() -> None:
    assert documented() == TRANSITIONS


def test_every_phase_can_be_reached_and_reset() -> None:
    reached = {Phase.IDLE}
    while new := {to for (phase, _), to in TRANSITIONS.items() if phase in reached} - reached:
        reached |= new
    assert reached == set(Phase)
    assert all(TRANSITIONS[phase, Trigger.RESET] is Phase.IDLE for phase in Phase if phase is not Phase.IDLE)


def test_a_stop_ends_commanding_from_everywhere_and_only_a_reset_ends_the_stop() -> None:
    for phase in Phase:
        assert TRANSITIONS.get((phase, Trigger.TRIP), phase) is Phase.STOPPED
        after_fault = TRANSITIONS.get((phase, Trigger.FAULT), phase)
        assert after_fault.is_stopped
    for (phase, trigger), to in TRANSITIONS.items():
        if phase.is_stopped and not to.is_stopped:
            assert trigger is Trigger.RESET


def test_who_does_not_command_begins_only_by_enable() -> None:
    for (phase, trigger), to in TRANSITIONS.items():
        if to.commands and not phase.commands:
            assert trigger is Trigger.ENGAGE
