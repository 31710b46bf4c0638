"""Faults on the way from a chunk to the arms: chunk execution, joint order, safety, limits, units."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of
from tests.mutants.of_loop import LOOP_TESTS

_SAFETY: Final = ("tests/wav_policy/control/test_safety.py", "tests/wav_policy/control/test_safety_look_ahead.py")
_BRAKING: Final = ("tests/wav_policy/control/test_braking.py",)
_LOST_ZERO: Final = (
    "tests/wav_policy/piper/test_lost_zero.py::test_a_joint_at_rest_that_loses_its_zero_holds_the_arms_and_is_named",
)

MUTANTS: Final = [
    *mutants_of(
        "wav_policy/control/safety.py",
        _SAFETY,
        {
            "no_upper_position_limit": ("np.minimum(highest, up, out=highest)", "pass"),
            "no_lower_position_limit": ("np.maximum(lowest, -down, out=lowest)", "pass"),
            "no_velocity_limit": ("np.minimum(highest, limit, out=highest)", "pass"),
            "no_lower_velocity_limit": ("np.maximum(lowest, -limit, out=lowest)", "pass"),
            "double_deceleration": ("np.subtract(self._velocity, reachable, out=lowest)", "np.subtract(self._velocity, 2 * reachable, out=lowest)"),
            "double_acceleration": ("np.add(self._velocity, reachable, out=highest)", "np.add(self._velocity, 2 * reachable, out=highest)"),
            "last_stop_wins": ("if self._stop_reason is None:\n            self._stop_reason = reason", "if True:\n            self._stop_reason = reason"),
            "reset_keeps_target": ("self.relatch()\n", "pass\n"),
            "stop_followed": ("elif position is not None:\n            age", "if position is not None:\n            age"),
            "calm_speed_ignored": ("limit = self._velocity_limit if velocity is None else", "limit = self._velocity_limit if True else"),
            "old_measurement_believed": ("measured, now - measured_stamp, self", "measured, 0.0, self"),
            "old_command_followed": ("0.0 if command_stamp is None else now - command_stamp", "0.0"),
            "early_command_followed": ("if not abs(age) <= max_age:", "if not age <= max_age:"),
            "non_finite_believed": ("if not _is_finite(vector):", "if False:"),
            "garbage_command_limited": ("self._lower - tolerance, self._upper + tolerance", "self._lower - 9.0, self._upper + 9.0"),
            "late_tick_counts_whole": ("return self.limits.max_tick\n", "return elapsed\n"),
            "late_tick_keeps_velocity": ("requested=elapsed, allowed=self.limits.max_tick))\n            self._rest()", "requested=elapsed, allowed=self.limits.max_tick))"),
            "no_step_limit": ("np.minimum(goal, self._max_step, out=goal)", "pass"),
            "starts_anywhere": ("target = position.copy()\n", "target = 0 * position\n"),
            "keeps_velocity_at_latch": ("self._has_target = True\n        self._rest()", "self._has_target = True"),
            "grip_opened": ("np.minimum(target[kept], self._target[kept])", "np.maximum(target[kept], self._target[kept])"),
            "no_feed_forward": ("return velocity + np.copysign", "return np.copysign"),
            "look_ahead_not_told": ("self._look_ahead.arrived_at(self._target)", "pass"),
        },
    ),
    *mutants_of(
        "wav_policy/control/safety.py",
        ("tests/wav_policy/control/test_collision.py",),
        {
            "collision_ignored": ("if approach is None:\n", "if True:\n"),
            "collision_other_arm_brakes": ("velocity[other] = wanted[other]\n", "velocity = wanted.copy(); velocity[other] = braking[other]\n"),
            "brakes_to_goal": ("if self._look_ahead is not None:\n                velocity", "if False:\n                velocity"),
        },
    ),
    *mutants_of(
        "wav_policy/control/safety.py",
        _BRAKING,
        {
            "last_tick_ignored": ("end_speed(self._velocity, self._acceleration, self._last_duration)", "end_speed(self._velocity, self._acceleration, duration)"),
            "last_tick_not_kept": ("self._velocity, self._last_duration = velocity, duration", "self._velocity = velocity"),
        },
    ),
    *mutants_of(
        "wav_policy/control/braking.py",
        _BRAKING,
        {
            "stops_later": ("moving = np.minimum(speed / acceleration, time)", "moving = time"),
            "tick_longer_than_the_way": ("np.where(speed < change, distance / tick, speed - 0.5 * change)", "speed - 0.5 * change"),
            "speed_of_the_middle": ("np.abs(velocity) - (0.5 * tick) * acceleration", "np.abs(velocity) - 0.0 * acceleration"),
        },
    ),
    *mutants_of(
        "wav_policy/control/safety_limits.py",
        _SAFETY,
        {
            "margin_outwards": ("both_arms(self.position_min) + self._margin", "both_arms(self.position_min) - self._margin"),
            "no_upper_margin": ("both_arms(self.position_max) - self._margin", "both_arms(self.position_max)"),
            "margin_of_grippers": ("margin[GRIPPERS] = 0.0", "pass"),
            "not_finite_accepted": ("or not np.isfinite(values).all()", ""),
            "negative_accepted": ("not (values > 0.0).all()", "False"),
            "degrees_accepted": ("(np.abs(values) > _LARGEST[name]).any()", "False"),
            "milliseconds_accepted": ("<= most:", "< math.inf:"),
        },
    ),
    *mutants_of(
        "wav_policy/control/tracking.py",
        ("tests/wav_policy/control/test_loop_tracking.py",),
        {
            "slow_accused": ("np.isinf(self._since) | moves", "np.isinf(self._since)"),
            "deaf_not_found": ("> _PROGRESS\n", "> -_PROGRESS\n"),
            "deaf_found_late": ("behind = error > MAX_ERROR", "behind = error > 4 * MAX_ERROR"),
        },
    ),
    *mutants_of(
        "wav_policy/robot/joints.py",
        ("tests/wav_policy/robot/test_joints.py",),
        {
            "gripper_index": ("if joint not in REVOLUTE]", "if joint + 1 not in REVOLUTE and joint + 1 < JOINT_DIM or joint == JOINT_DIM - 1]"),
            "arms_mixed": ("np.tile(np.asarray(values, dtype=np.float64), len(SIDES))", "np.repeat(np.asarray(values, dtype=np.float64), len(SIDES))"),
        },
    ),
    *mutants_of(
        "wav_policy/control/collision.py",
        ("tests/wav_policy/control/test_collision.py",),
        {
            "braking_not_seen": ("time = duration * (1.0 - math.sqrt(left))", "time = 0.0"),
            "one_arm_unseen": ("can_meet = high > 1", "can_meet = False"),
            "table_unseen": ("can_meet = second.link >= _FIRST_MOBILE_LINK", "can_meet = False"),
            "itself_unseen": ("can_meet = high - low > _ADJACENT and low < _WRIST", "can_meet = False"),
            "start_clearance_lost": ("= min(floor[a, b], distance - _SLACK)", "= floor[a, b]"),
            "may_come_near_again": ("self._floor = np.maximum(self._floor, self._reachable_from(position))", "pass"),
        },
    ),
    *mutants_of(
        "wav_models/types.py",
        ("tests/wav_policy/control/test_chunk_executor.py",),
        {"chunk_due_at_once": ("np.arange(1, len(self.positions) + 1", "np.arange(0, len(self.positions)")},
    ),
    *mutants_of(
        "wav_policy/control/safety.py",
        ("tests/wav_policy/control/test_loop_tracking.py",),
        {"all_displaced": ("self._velocity = np.where(joints, 0.0, self._velocity)", "joints = joints | True")},
    ),
    *mutants_of(
        "wav_policy/control/loop_phases.py",
        LOOP_TESTS,
        {
            "release_keeps_following": ("Reaction.RELEASE: Trigger.RELEASE", "Reaction.RELEASE: Trigger.INHIBIT"),
            "leader_still_commanded": ("Reaction.SILENCE: Trigger.SILENCE", "Reaction.SILENCE: Trigger.FAULT"),
        },
    ),
    *mutants_of(
        "wav_policy/control/loop_thread.py",
        LOOP_TESTS,
        {"lost_time_made_up_for": ("due += overrun", "due += 0.0 * overrun")},
    ),
    *mutants_of(
        "wav_policy/control/loop_thread.py",
        ("tests/wav_policy/control/test_loop_thread.py",),
        {
            "failure_taken_for_done": ("if post.error is not None:", "if False:"),
            "begun_taken_for_refused": ("if not is_begun or not post.wait(_ANSWER_TIMEOUT):", "if True:"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/joint_state.py",
        ("tests/wav_policy/nodes/messages/test_joint_state.py",),
        {
            "names_ignored": ("return [list(names).index(name) for name in JOINT_NAMES]", "return list(range(len(names)))"),
            "inverse_order": ("return [list(names).index(name) for name in JOINT_NAMES]", "return [JOINT_NAMES.index(name) for name in names]"),
            "doubled_names_accepted": ("if missing or unknown or doubled:", "if missing or unknown:"),
            "order_of_a_state": ("[[rows[place] for place in range(JOINT_DIM)]]", "[list(rows.values())]"),
            "order_of_a_part": ("self._positions[joints] =", "self._positions[sorted(joints)] ="),
            "other_effort": ("self._efforts[joints] =", "self._efforts[sorted(joints)] ="),
            "only_unknown_accepted": ("if not ours:", "if not names:"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/trajectory.py",
        ("tests/wav_policy/nodes/messages/test_trajectory.py",),
        {
            "columns_not_reordered": ("dtype=np.float64)[:, order]", "dtype=np.float64)"),
            "uneven_accepted": ("if step <= 0 or", "if step <= 0 and"),
            "due_one_early": ("_duration(chunk.step * (i + 1))", "_duration(chunk.step * i)"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/observation.py",
        ("tests/wav_policy/policy/test_observation.py",),
        {
            "memory_of_now": ("self._memory(stream, times) for stream", "self._memory(stream, 0 * times + stamp) for stream"),
            "joints_of_now": ("self._memory(self._joints, np.array([stamp]))", "self._memory(self._joints, np.array([self._joints.newest]))"),
            "skew_ignored": ("if stamp - oldest.newest > self._config.max_image_skew:", "if False:"),
            "age_ignored": ("if text := stream.staleness(now, max_age):", "if False and (text := stream.staleness(now, max_age)):"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/stream_buffer.py",
        ("tests/wav_policy/policy/test_stream_buffer.py", "tests/wav_policy/policy/test_observation.py"),
        {
            "future_believed": ("if stamp - now > self._limits.max_ahead:", "if False:"),
            "past_believed": ("if now - stamp > self._limits.max_age:", "if False:"),
            "one_stamp_is_a_clock": ("len(self._contradictions) >= NUM_AGREEING", "len(self._contradictions) >= 1"),
            "gap_ignored": ("if capture is None or time - capture.stamp > max_gap:", "if capture is None:"),
            "stale_is_fresh": ("if age > max_age:", "if False:"),
            "frozen_is_live": ("if same > max_time else", "if False else"),
            "last_row_not_compared": ("and np.array_equal(before, after)", ""),
        },
    ),
    *mutants_of(
        "wav_policy/policy/planning_worker.py",
        ("tests/wav_policy/policy/test_planning_worker.py",),
        {
            "stale_plan_delivered": ("if generation != self._generation:\n", "if False:\n"),
            "not_confirmed": ("            self._confirm()\n", "            pass\n"),
            "warm_start_kept": ("self.policy.reset()", "pass"),
            "non_finite_delivered": ("if not np.isfinite(plan.chunk.positions).all():", "if False:"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/chunk_continuation.py",
        ("tests/wav_policy/policy/test_chunk_continuation.py",),
        {
            "one_row_less_frozen": ("np.where(row < num_frozen, 1.0,", "np.where(row < num_frozen - 1, 1.0,"),
            "runs_away": ("if not deviation.max() <= MAX_DEVIATION:", "if False:"),
            "newest_weighs_most": ("math.exp(-AGE_DECAY * age)", "math.exp(AGE_DECAY * age)"),
            "rows_of_now": ("np.arange(1, self._num_rows + 1", "np.arange(0, self._num_rows"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/remote/remote_policy.py",
        ("tests/wav_policy/policy/remote/test_blending.py",),
        {
            "old_and_new_exchanged": ("(1.0 - new) * old + new * rows", "new * old + (1.0 - new) * rows"),
            "blended_from_the_question": ("num_frozen = math.ceil((seconds + _AGE) * step_hz)", "num_frozen = 0"),
            "blended_in_a_line": ("new = s * s * (3.0 - 2.0 * s)", "new = s"),
            "ended_chunks_stop_dead": ("last + travelled[:, None] * step", "last + 0.0 * travelled[:, None] * step"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/remote/mapping.py",
        ("tests/wav_policy/policy/remote/test_mapping.py",),
        {
            "units_not_undone": ("(numbers - offset) / scale", "numbers"),
            "offset_after_scale": ("(numbers - offset) / scale", "numbers / scale - offset"),
            "nan_taken": ("<= _MAX_POSITION).all():", "<= _MAX_POSITION).any():"),
            "leaps_taken": ("if speeds.max() > _MAX_SPEED:", "if False:"),
            "starts_anywhere": ("if not distance.max() <= self.max_start_distance:", "if False:"),
        },
    ),
    *mutants_of(
        "wav_policy/control/safety.py",
        _SAFETY,
        {
            "target_lent_to_callers": ("SafetyDecision(self._target.copy(), not follows", "SafetyDecision(self._target, not follows"),
            "starts_on_the_callers_array": ("target = position.copy()\n", "target = position\n"),
            "frozen_by_a_clock_that_went_back": ("requested=elapsed))\n                self._last_time = now", "requested=elapsed))"),
            "goal_of_before_the_rest": ("self._last_duration = 0.0\n        self._has_goal = False", "self._last_duration = 0.0"),
            "goal_of_before_the_hold": ("velocity = braking\n            self._has_goal = False", "velocity = braking"),
            "arms_slow_each_other_down": ("[share[:ARM_DOF].min(), share[ARM_DOF:].min()]", "[share[ARM_DOF:].min(), share[:ARM_DOF].min()]"),
            "arm_leaves_its_way": ("[share[:ARM_DOF].min(), share[ARM_DOF:].min()]", "[share[:ARM_DOF].max(), share[ARM_DOF:].max()]"),
            "other_arm_not_looked_at": ("if look_ahead.find(self._target, velocity, duration) is None:\n                    return velocity", "return velocity"),
            "jump_not_looked_ahead_from": ("position, self._target))\n        if self._look_ahead is not None:", "position, self._target))\n        if False:"),
            "displaced_in_motion": ("self._velocity = np.where(joints, 0.0, self._velocity)\n", "pass\n"),
            "kept_grips_add_up": ("self._kept_grips = list(keep_grips)", "self._kept_grips += list(keep_grips)"),
        },
    ),
    *mutants_of(
        "wav_policy/control/reach.py",
        ("tests/wav_policy/control/test_reach.py::test_targets_stay_within_the_arms_own_limits",),
        {
            "own_lower_limit_ignored": ("np.fmax(limits.lower, self.lower + margin)", "np.fmin(limits.lower, self.lower + margin)"),
            "margin_outwards": ("np.fmin(limits.upper, self.upper - margin)", "np.fmin(limits.upper, self.upper + margin)"),
            "sides_exchanged": ("for side in SIDES), strict=True)", "for side in SIDES[::-1]), strict=True)"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/joint_state.py",
        ("tests/wav_policy/nodes/messages/test_joint_state.py",),
        {
            "newer_arm_counts": ("return PickedState(self._positions.copy(), efforts, stamp)", "return PickedState(self._positions.copy(), efforts, float(self._stamps[newest]))"),
            "dead_arm_is_as_young_as_the_other": ("<= self._max_apart:", "< np.inf:"),
            "one_arm_told_twice": ("        self._told = stamp\n", ""),
        },
    ),
    *mutants_of(
        "wav_policy/control/tracking.py",
        ("tests/wav_policy/control/test_loop_interruptions.py",),
        {
            "refused_targets_are_places": ("(got | ~self._is_alone)", "True"),
            "left_alone_where_it_is": ("        self._is_alone = ~got\n", ""),
            "leaning_is_moved": ("np.maximum(measured, target))", "target)"),
        },
    ),
    *mutants_of(
        "wav_policy/control/loop_state.py",
        ("tests/wav_policy/control/test_loop_interruptions.py",),
        {"other_arm_blamed": ("zip(SIDES, concerned, strict=True)", "zip(SIDES[::-1], concerned, strict=True)")},
    ),
    *mutants_of(
        "wav_policy/nodes/runtime/lifecycle.py",
        ("tests/wav_policy/nodes/test_managed_node.py",),
        {
            "no_bond": ("        self._bond.begin()\n", ""),
            "bond_after_deactivation": ("        self._bond.end()\n        return super()", "        return super()"),
            "bond_after_shutdown": ('from any state."""\n        self._bond.end()\n', 'from any state."""\n'),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/service_desk.py",
        ("tests/wav_policy/nodes/test_gateway_services.py::test_what_was_asked_for_before_a_hold_is_told_so",),
        {
            "overtaken_forgotten": ("is_overtaken = name == \"change_state\" and bool(self._overtaken)\n                request, header = self._overtaken.popleft() if is_overtaken", "is_overtaken = False\n                request, header = self._overtaken.popleft() if name == \"change_state\" and self._overtaken"),
            "overtaken_for_ever": ("(self._number, number, is_overtaken)", "(self._number, number, True)"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/piper_node.py",
        ("tests/wav_policy/nodes/test_piper_node_errors.py",),
        {
            "overtaken_done": ("wanted.is_overtaken or holds", "holds"),
            "stop_waits_for_answers": (
                "                    waiting.append((service, header))\n",
                "                    service.send_response(service.srv_type.Response(success=False, message=why), header)\n",
            ),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/runtime/spin.py",
        ("tests/wav_policy/nodes/test_managed_node.py",),
        {"threads_left_to_a_destroyed_node": ("shutdown(wait=True)", "shutdown(wait=False)")},
    ),
    *mutants_of(
        "wav_policy/nodes/goal_desk.py",
        ("tests/wav_policy/nodes/test_goal_desk.py",),
        {
            "goal_waits_through_a_hold": ("if time.monotonic() < until:", "if False:"),
            "hold_not_heard_before_a_goal": ("        self.refresh()\n", ""),
            "goal_after_a_hold_refused": ("if now - self._heard > _AWAY:", "if True:"),
            "stalled_gripper_failed": ("in (GoalCode.SUCCESSFUL, GoalCode.GOAL_TOLERANCE_VIOLATED)", "== GoalCode.SUCCESSFUL"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/runtime/goal_runner.py",
        ("tests/wav_policy/nodes/test_goal_runner.py",),
        {
            "any_cancel_ends_it": ("word.number in (active.number, 0)", "True"),
            "absent_arm_moved": ("if told.absent and name.startswith(told.absent):", "if False:"),
            "for_ever_under_way": ("if not motion.has_ended and time.monotonic() > active.until:", "if False:"),
            "goal_begins_after_a_hold": ("translate(goal.start)), heard)", "translate(goal.start)))"),
            "half_a_goal_is_kept": ('if isinstance(word, Cancel):\n            self._parts = b""\n', "if isinstance(word, Cancel):\n"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/observation.py",
        ("tests/wav_policy/policy/test_observation.py",),
        {
            "joints_are_the_callers": ("np.array(positions, dtype=np.float64))", "np.asarray(positions, dtype=np.float64))"),
            "memory_of_fast_cameras_alone": ("- float(memory_times(0.0, horizon).min()) + config.max_memory_gap", "- float(memory_times(0.0, horizon).min())"),
            "joints_of_the_episode_before": ("return (*self._images.values(), self._joints)", "return (*self._images.values(),)"),
            "silent_joints_are_alive": ("self._check_images(now)\n            _check_age(self._joints, now, self._config.max_joint_age)", "self._check_images(now)"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/planning_worker.py",
        (
            "tests/wav_policy/policy/test_planning_worker.py::test_no_two_plans_draw_the_same_noise",
            "tests/wav_policy/policy/test_planning_worker.py::test_a_plan_continues_what_is_committed_and_what_is_made_of_it_is_delivered",
            "tests/wav_policy/policy/test_planning_worker.py::test_nothing_is_continued_once_the_arms_may_hold",
        ),
        {
            "seed_ignored": ("seed = self._seed + self.statistics.plans", "seed = self.statistics.plans"),
            "every_plan_draws_alike": ("seed = self._seed + self.statistics.plans + self.statistics.failed", "seed = self._seed"),
            "failed_plan_again": ("seed = self._seed + self.statistics.plans + self.statistics.failed", "seed = self._seed + self.statistics.plans"),
            "not_continued": ("seed=seed, committed=committed)", "seed=seed)"),
            "planned_chunk_delivered": ("plan = replace(plan, chunk=self._continuation.finish(plan.chunk))", "self._continuation.finish(plan.chunk)"),
            "latency_since_the_observation_came": ("latency = max(age, 0.0) + time.monotonic()", "latency = time.monotonic()"),
            "continues_the_task_before": ("self._continuation.reset()\n                    reset_for", "reset_for"),
            "continues_what_was_stopped": ("self._continuation.reset()  # the arms may", "pass  # the arms may"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/chunk_continuation.py",
        ("tests/wav_policy/policy/test_chunk_continuation.py",),
        {
            "runs_ahead": ("np.abs(positions_at(previous, np.array([stamp]))[0] - joint_state)", "(positions_at(previous, np.array([stamp]))[0] - joint_state)"),
            "one_row_more_frozen": ("math.ceil((self.latency - _TIME_TOLERANCE)", "math.ceil((self.latency + _TIME_TOLERANCE)"),
            "half_of_the_plans_are_late": ("_LATENCY_PERCENTILE: Final = 90.0", "_LATENCY_PERCENTILE: Final = 50.0"),
            "last_rows_not_averaged": ("(times <= chunk.times[-1] + _TIME_TOLERANCE)", "(times < chunk.times[-1] - _TIME_TOLERANCE)"),
        },
    ),
    *mutants_of(
        "wav_policy/control/tracking.py",
        (
            "tests/wav_policy/control/test_loop_tracking.py::test_the_joint_that_is_behind_for_longest_is_told",
            "tests/wav_policy/control/test_loop_tracking.py::test_a_joint_that_moves_away_from_its_target_is_not_on_its_way",
        ),
        {"falling_is_progress": ("np.sign(way) * (measured - self._from)", "np.abs(measured - self._from)"), "last_one_behind_told": ("int(durations.argmax()) if behind.any()", "int(np.where(behind, durations, np.inf).argmin()) if behind.any()")},
    ),
    *mutants_of(
        "wav_policy/nodes/messages/trajectory.py",
        ("tests/wav_policy/nodes/messages/test_trajectory.py",),
        {"endless_accepted": ("if len(message.points) > MAX_ROWS:", "if False:")},
    ),
    *mutants_of(
        "wav_policy/policy/remote/remote_policy.py",
        ("tests/wav_policy/policy/remote/test_remote_policy.py::test_joints_the_policy_does_not_know_do_not_sag_from_chunk_to_chunk",),
        {"plan_before_changed": ("others = self._commanded.copy()", "others = self._commanded"), "told_in_the_episode_before": ("        self._commanded = None\n\n    def warm_up", "        pass\n\n    def warm_up")},
    ),
    *mutants_of(
        "wav_policy/control/reach.py",
        ("tests/wav_policy/control/test_reach.py::test_limits_that_cannot_be_are_none",),
        {
            "any_stroke_believed": ("flash.max_stroke <= _LONGEST_STROKE", "flash.max_stroke <= 1e9"),
            "no_room_is_a_reach": ("return np.where(fits, lower, limits.lower), np.where(fits, upper, limits.upper)", "return lower, upper"),
            "turns_believed": ("-2.0 * math.pi <= lower < upper <= 2.0 * math.pi", "lower < upper"),
        },
    ),
    *mutants_of(
        "wav_policy/control/trusted_readings.py",
        ("tests/wav_policy/control/test_trusted_readings.py",),
        {"jump_told_again": ("self.jumped = np.zeros(JOINT_DIM, dtype=bool)\n        if reading", "if reading")},
    ),
    *mutants_of(
        "wav_policy/control/trusted_readings.py",
        _LOST_ZERO,
        {"driver_unheard": (" | (reading.jumps > trusted.jumps)[arm]", "")},
    ),
    *mutants_of(
        "wav_policy/piper/belief.py",
        _LOST_ZERO,
        {
            "on_its_way_back_believed": ("_BACK if from_rest else self._reach", "self._reach"),
            "starts_as_fast_as_it_moves": ("starts_slowly=not is_silent_at_rest", "starts_slowly=False"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/bimanual.py",
        _LOST_ZERO,
        {"other_arm_jumped": ("np.concatenate([left.jumps, right.jumps])", "np.concatenate([right.jumps, left.jumps])")},
    ),
]  # fmt: skip
