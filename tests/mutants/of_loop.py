"""Faults of the control loop and of what it follows: chunks, trajectories, calm motions."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

LOOP_TESTS: Final = (
    "tests/wav_policy/control/test_control_loop.py",
    "tests/wav_policy/control/test_loop_interruptions.py",
    "tests/wav_policy/control/test_loop_inhibits.py",
    "tests/wav_policy/control/test_loop_tracking.py",
    "tests/wav_policy/control/test_loop_clocks.py",
)

MUTANTS: Final = [
    *mutants_of(
        "wav_policy/control/chunk_executor.py",
        ("tests/wav_policy/control/test_chunk_executor.py",),
        {
            "disagreement_sign": ("previous[0] - position, previous[1] - velocity", "position - previous[0], velocity - previous[1]"),
            "older_accepted": ("and chunk.stamp <= self._blend.stamp\n", "and False\n"),
            "past_accepted": ("if is_older or times[-1] <= now:", "if is_older:"),
            "no_blend": ("if now - blend.start < duration:", "if False:"),
            "blend_without_velocity": ("position += duration * fade * (fade - 1.0) ** 2 * blend.slope", "pass"),
            "runs_past_its_end": ("if blend is None or not now <= blend.knots[-1]:", "if blend is None:"),
            "wild_cubic": ("monotone = before * after > 0.0", "monotone = before * after > -np.inf"),
            "garbage_accepted": ("if bad.any():", "if False:"),
            "future_accepted": ("if chunk.stamp > now + self._config.max_future:", "if False:"),
            "starts_from_zero": ("previous = (np.array(current, dtype=np.float64)", "previous = (0 * np.array(current, dtype=np.float64)"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        LOOP_TESTS,
        {
            "trip_stays_engaged": ("self._safety.trip(reason)\n        self._go(Trigger.TRIP)", "self._safety.trip(reason)\n        self._go(Trigger.FAULT)"),
            "unsafe_write": ("self._arms.write(target, self._cut_off)", "self._arms.write(target, (False, False))"),
            "silence_unnoticed": ("(now - stamp > self._max_age for stamp in reading.stamps)", "(False, False)"),
            "one_reading_believed": ("self._readings.take(self._arms.read())", "self._arms.read()"),
            "moved_arm_commanded": ("        if moved:\n", "        if False:\n"),
            "deaf_arm_commanded": ("        if self._phase in (Phase.FOLLOWING, Phase.MOVING):\n", "        if False:\n"),
            "clock_step_ignored": ("self._arms.inhibit() or clock_inhibit", "self._arms.inhibit()"),
            "fault_goes_on": ("self._safety.trip(fault)\n", "pass\n"),
            "trajectory_outlives_a_step": ("self._end_trajectory(inhibit.text)", "pass"),
        },
    ),
    *mutants_of(
        "wav_policy/control/loop_phases.py",
        ("tests/wav_policy/control/test_loop_clocks.py",),
        {"clock_ends_the_way_home": ("Reaction.PAUSE: Trigger.INTERRUPT", "Reaction.PAUSE: Trigger.INHIBIT")},
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_holds_are_told.py",),
        {
            "hold_not_told": ("self._on_hold(reason, detail)", "pass"),
            "hold_told_every_tick": ("if reason in (\"\", before)", "if reason in (\"\",)"),
            "inhibit_told_twice": ("or self._inhibit or self._needs_enable or self._phase.brakes:", "or False:"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_calm_motions.py",),
        {"park_opens_grippers": ("goal[GRIPPERS] = start[GRIPPERS]", "pass")},
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_loop_tracking.py",),
        {
            "lost_zero_unnoticed": ("self._notice_jump(reading)\n", "pass\n"),
            "lost_zero_is_moved": ("        self._whereabouts.jumped(jumped, reading.position)\n", ""),
            "deaf_is_led_on_while_it_brakes": ("        self._safety.displace(joints, reading.position)\n", ""),
            "deaf_by_a_little_is_led_on": ("            lags |= self._tracking.lost\n", "            lags = self._tracking.lost.copy()\n"),
            "moving_joints_are_thrown_back": (" & (np.abs(reading.velocity) < _RESTING)", ""),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/piper/test_grips.py",),
        {
            "gripper_closes_with_its_power": ("stays = self._is_off.copy()", "stays = np.zeros(JOINT_DIM, dtype=bool)"),
            "gripper_runs_after_its_target": ("        if is_back.any():\n", "        if False:\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/minimum_jerk.py",
        ("tests/wav_policy/control/test_calm_motions.py",),
        {
            "peak_is_mean": ("_PEAK = 1.875", "_PEAK = 1.0"),
            "overshoots": ("min(self._elapsed / self.duration, 1.0)", "self._elapsed / self.duration"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_gripper_motion.py",),
        {
            "goal_outlives_a_hold": ("        if asked < self._held_at:\n", "        if False:\n"),
            "home_outlives_a_hold": ("None if asked < self._held_at else self._begin(", "self._begin("),
            "hold_ends_nothing_asked": ("def _hold(self, reason: str) -> None:\n        self._held_at = self._clock()\n", "def _hold(self, reason: str) -> None:\n"),
            "enable_ends_nothing_asked": ("def _begin_anew(self) -> None:\n        self._held_at = self._clock()\n", "def _begin_anew(self) -> None:\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_control_loop.py",),
        {
            "first_fault_for_ever": ("return False\n        self._fault = \"\"", "return False"),
            "rejection_of_before": ("self._tally.clear()\n        self._source.rejected_chunk = \"\"", "self._tally.clear()"),
            "target_of_before": ("self._decision = self._inhibit = self._needs_enable = None", "self._inhibit = self._needs_enable = None"),
            "target_before_the_stop": ("and self._phase.commands and not self._thread.must_hurry:", "and self._phase.commands:"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_loop_inhibits.py", "tests/wav_policy/control/test_loop_interruptions.py"),
        {
            "rests_while_it_goes_back": ("np.abs(reading.velocity[REVOLUTE]).max() >= _RESTING", "reading.velocity[REVOLUTE].max() >= _RESTING"),
            "enabled_on_its_way": ("if rests and self._phase is Phase.LEAVING and not self._is_moving(reading):", "if rests and self._phase is Phase.LEAVING:"),
            "expected_where_it_was_moved_to": ("        if not waits and not any(self._cut_off):\n", "        if True:\n"),
            "deaf_beside_a_silent_one": ("        waits = self._phase in", "        if any(self._cut_off):\n            return target\n        waits = self._phase in"),
            "clear_though_not_where_it_was": ("if self._go(Trigger.CLEAR) and told is not None:", "if self._go(Trigger.CLEAR) or told is not None:"),
            "sent_targets_forgotten": ("self._whereabouts.sent(target, self._cut_off, took)\n", "pass\n"),
            "enabled_arm_expected_where_it_was": ("        self._whereabouts.forget()\n", ""),
            "goes_on_at_rest_without_a_look": ("            self._go(Trigger.INTERRUPT)\n", ""),
            "silent_right_arm_unnoticed": ("self._cut_off[0] or left, self._cut_off[1] or right", "self._cut_off[0] or left, self._cut_off[1]"),
            "refusing_right_bus_unnoticed": ("not took[0], self._cut_off[1] or not took[1]", "not took[0], self._cut_off[1]"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_calm_motions.py",),
        {
            "pose_of_the_caller_changed": ("        goal = np.clip(goal, *self._safety.bounds)\n", ""),
            "begins_where_the_arms_lag": ("target = self._newest_target\n        if target is not None:\n            return target", "target = None"),
            "closed_and_waited_for": ("self._source.end_motion(\"the control loop was closed\")", "pass"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_followed_trajectory.py",),
        {
            "trajectory_after_a_silence": ("self._end_trajectory(missed_targets(self._cut_off))", "pass"),
            "trajectory_through_what_blocks": ('blocked = ": ".join(filter(None, why_holding(decision, self._cut_off)))', 'blocked = ""'),
            "trajectory_of_arms_not_enabled": ("if self._phase not in (Phase.FOLLOWING, Phase.MOVING):", "if False:"),
            "long_path_in_the_loop": ("if start is not None:  # the loop", "if False:  # the loop"),
            "trajectory_during_home": ("if motion is not None and motion.can_pause:", "if False:"),
        },
    ),
    *mutants_of(
        "wav_policy/control/control_loop.py",
        ("tests/wav_policy/control/test_gripper_motion.py",),
        {
            "enabled_before_it_is_measured": ("            self._has_target.wait(_MEASURING)\n", "            pass\n"),
            "goal_from_one_reading": ("start, why = self._newest_target,", "start, why = self._present_target(),"),
            "home_beside_parking": ("            self._finish(self._source.motion, has_arrived=False, why=f", "            str(f"),
        },
    ),
    *mutants_of(
        "wav_policy/control/gripper_motion.py",
        ("tests/wav_policy/control/test_gripper_motion.py",),
        {
            "grip_reached_anywhere": ("if is_there and away <= _REACHED:", "if is_there:"),
            "grip_stalled_while_it_moves": ("if not is_there or abs(reading.velocity[self._joint]) > _STILL:", "if not is_there:"),
            "grip_never_stalled": ("if self._elapsed - self._moved < _STALL_TIME:", "if True:"),
            "grip_and_others_go_back": ("start = reachable.braked(position, velocity)\n", "start = position.copy()\n"),
            "grip_outside_its_limits": ("if not lower - margin <= goal.position <= upper + margin:", "if False:"),
            "grip_in_a_hurry": ("self.velocity[joint] = goal.speed\n", "pass\n"),
            "grip_goes_on_by_itself": ("    can_pause = False\n", ""),
            "grip_through_what_blocks": ("        if blocked:\n", "        if False:\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/followed_trajectory.py",
        ("tests/wav_policy/control/test_followed_trajectory.py",),
        {
            "path_tolerance_ignored": ("self._find_away(self._terms.path_tolerance, measured)", '""'),
            "goal_tolerance_ignored": ("if not told and rests and self.is_goal(target):", "if rests and self.is_goal(target):"),
            "no_end_of_waiting": ("if late <= self._terms.goal_time:", "if True:"),
            "starts_at_once": ("self._elapsed = elapsed\n", "self._elapsed = 0.0\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/joint_trajectory.py",
        ("tests/wav_policy/control/test_joint_trajectory.py",),
        {
            "others_jump_back": ("velocity * np.abs(velocity) / (2.0 * self.acceleration)", "velocity * 0.0"),
            "outside_the_limits": ("    _check_points(goal, due, reachable)\n", ""),
            "too_fast": ("_NUM_OF_START if is_checked else None)", "0)"),
            "jump_at_the_start": ("        _check_start(goal, position)\n    if elapsed > 0.0", "        pass\n    if elapsed > 0.0"),
            "far_at_once": ("        _check_start(goal, position)\n        goal =", "        goal ="),
            "begins_at_rest": ("rows[:, goal.joints], velocity[goal.joints], 0.0)", "rows[:, goal.joints], 0.0, 0.0)"),
            "ends_in_motion": ("velocity[goal.joints], 0.0)", "velocity[goal.joints], 0.5)"),
            "past_points_again": ("due = goal.times > begin\n", "due = goal.times > 0.0\n"),
            "quintic_wrong": ("-15.0 * way + 7.0 * speed", "-15.0 * way + 8.0 * speed"),
            "no_tolerance_is_a_tight_one": ("value if value > 0.0 else np.inf\n", "abs(value)\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/chunk_executor.py",
        ("tests/wav_policy/control/test_chunk_executor.py",),
        {
            "large_negative_rows_accepted": ("bad = ~(np.abs(rows) <= MAX_MAGNITUDE)", "bad = ~(rows <= MAX_MAGNITUDE)"),
            "runs_backwards_before_it_begins": ("now = max(now, blend.start)", "pass"),
        },
    ),
    *mutants_of(
        "wav_policy/control/command_source.py",
        LOOP_TESTS,
        {
            "old_chunk": ("if chunk.stamp < self._valid_from:", "if False:"),
            "inhibit_ignored": ("if phase is not Phase.FOLLOWING:", "if not phase.commands:"),
            "plans_of_before_a_hold": ("        self._valid_from = self._clock()\n", "        pass\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/command_source.py",
        ("tests/wav_policy/control/test_followed_trajectory.py",),
        {
            "chunk_beside_a_trajectory": ("if self.motion is not None:\n            self.rejected_chunk", "if False:\n            self.rejected_chunk"),
            "motion_is_nobody": ("            return motion.name\n", "            return \"\"\n"),
        },
    ),
]  # fmt: skip
