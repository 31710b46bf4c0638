"""Faults of what is believed of an arm's frames and of its flash, of set-points, and of what follows leader arms."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

MUTANTS: Final = [
    *mutants_of(
        "wav_policy/piper/belief.py",
        ("tests/wav_policy/piper/test_belief.py", "tests/wav_policy/piper/test_lost_zero.py"),
        {
            "one_sample_believed": ("if not follows and not confirms:", "if False:"),
            "nothing_outweighs_the_oldest": ("if not follows and not confirms:", "if not follows:"),
            "any_speed_follows": ("reach = self._slack + self._speed * elapsed", "reach = float('inf')"),
            "doubted_is_the_believed": ("self._doubted, self._doubted_at = values, now\n            return False", "self.values, self._doubted_at = values, now\n            return False"),
            "follows_after_a_pause": ("if elapsed < 0.0 or (is_pause and not self._is_silent_at_rest):", "if elapsed < 0.0:"),
            "leader_at_rest_is_forgotten": ("if elapsed < 0.0 or (is_pause and not self._is_silent_at_rest):", "if elapsed < 0.0 or is_pause:"),
            "pause_lets_it_get_far": ("(self._slack if is_pause else self._reach(elapsed, from_rest))", "self._reach(elapsed, from_rest)"),
            "jump_of_long_ago": ("if confirms and 0.0 <= elapsed <= _JUMP_TIME:", "if confirms:"),
            "smallest_difference": ("return max(map(abs, map(sub, values, others)))", "return min(map(abs, map(sub, values, others)))"),
            "sign_of_the_difference": ("max(map(abs, map(sub, values, others)))", "max(map(sub, values, others))"),
            "always_at_rest": ("self._num_still = self._num_still + 1 if is_still else 0", "self._num_still += 1"),
            "all_of_a_pair_jump": ("number + (abs(value - other) > reach)", "number + 1"),
        },
    ),
    *mutants_of(
        "wav_policy/control/trusted_readings.py",
        ("tests/wav_policy/control/test_trusted_readings.py", "tests/wav_policy/control/test_loop_tracking.py"),
        {
            "one_reading_trusted": ("or self._changed(side, before, reading).any():", ":"),
            "readings_far_apart_trusted": ("if before is None or self._is_apart(side, before, reading) or", "if before is None or"),
            "jumped_after_a_pause": ("if trusted is not None and not self._is_apart(side, trusted, reading):", "if trusted is not None:"),
            "one_arm_is_enough": ("if left is None or right is None:", "if left is None and right is None:"),
            "arms_exchanged": ("return left if left is right else _joined(left, right)", "return left if left is right else _joined(right, left)"),
            "reconnection_remembered": ("            self.forget()\n            return None", "            return None"),
            "right_arm_of_the_left_reading": ("getattr(right, name)[_ARMS[1]]", "getattr(left, name)[_ARMS[1]]"),
            "stamps_of_the_left": ("stamps = left.stamps[0], right.stamps[1]", "stamps = left.stamps"),
            "late_readings_jump": ("late = self._max_gap * np.abs(trusted.velocity[arm])", "late = 0.0 * trusted.velocity[arm]"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/enable_gate.py",
        ("tests/wav_policy/piper/test_enable_gate.py",),
        {
            "impossible_is_fine": ("    if impossible:\n", "    if False:\n"),
            "outside_is_fine": ("    if outside:\n", "    if False:\n"),
            "untold_is_fine": ("    if untold:\n", "    if False:\n"),
            "limits_exchanged": ("<= lower < upper <=", "<= upper and lower <="),
            "any_speed": ("not 0.0 < speed <= _MAX_SPEED", "not 0.0 < speed"),
            "standing_still": ("not 0.0 < speed <= _MAX_SPEED", "not speed <= _MAX_SPEED"),
            "any_acceleration": ("not 0.0 < acceleration <= _MAX_ACCELERATION", "not 0.0 < acceleration"),
            "no_acceleration": ("not 0.0 < acceleration <= _MAX_ACCELERATION", "not acceleration <= _MAX_ACCELERATION"),
            "below_is_inside": ("if not lower - TOLERANCE <= angle <= upper + TOLERANCE:", "if not angle <= upper + TOLERANCE:"),
            "above_is_inside": ("if not lower - TOLERANCE <= angle <= upper + TOLERANCE:", "if not lower - TOLERANCE <= angle:"),
            "no_tolerance": ("if not lower - TOLERANCE <= angle <= upper + TOLERANCE:", "if not lower <= angle <= upper:"),
            "nan_is_inside": ("if not lower - TOLERANCE <= angle <= upper + TOLERANCE:", "if angle < lower - TOLERANCE or angle > upper + TOLERANCE:"),
            "half_told_is_outside": ("if lower is None or upper is None:", "if lower is None and upper is None:"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/setpoints.py",
        ("tests/wav_policy/piper/test_units.py", "tests/wav_policy/piper/test_arm.py"),
        {
            "pairs_exchanged": ("(FrameId.JOINT_TARGET_34, _PAIR.pack(joints[2], joints[3]))", "(FrameId.JOINT_TARGET_34, _PAIR.pack(joints[3], joints[2]))"),
            "wrist_of_the_shoulder": ("_PAIR.pack(joints[4], joints[5])", "_PAIR.pack(joints[0], joints[1])"),
            "grip_without_effort": ("units.micrometres_from_metres(stroke), effort_count,", "units.micrometres_from_metres(stroke), 0,"),
            "gripper_off": ("frames.GRIPPER_ON, 0)", "frames.GRIPPER_OFF_AND_CLEAR, 0)"),
        },
    ),
    *mutants_of(
        "wav_policy/teleoperation/following.py",
        ("tests/wav_policy/teleoperation/test_following.py",),
        {
            "follows_released": ("        if self.state == State.RELEASED:\n            return None\n", ""),
            "fault_ignored": ("doubt = fault or self._doubt(", "doubt = self._doubt("),
            "doubt_ignored": ("if doubt or leader is None", "if leader is None"),
            "implausible_leader": ("        if len(far):\n", "        if False:\n"),
            "implausible_below": ("~(np.abs(leader) <= _PLAUSIBLE)", "~(leader <= _PLAUSIBLE)"),
            "leader_that_is_no_number": ("~(np.abs(leader) <= _PLAUSIBLE)", "np.abs(leader) > _PLAUSIBLE"),
            "jump_followed": ("if now < self._calm_from:", "if False:"),
            "jump_of_a_gripper": ("(np.abs(leader - last) * _WEIGHTS).max()", "np.abs(leader - last).max()"),
            "old_follower": ("if text := staleness(now, measured.stamp, self.config.max_follower_age):", "if text := \"\":"),
            "silent_follower": ("if target is None or staleness(now, target.stamp, self.config.max_follower_age):", "if target is None:"),
            "straight_into_following": ("        self.state = State.APPROACHING\n\n", "        self.state = State.FOLLOWING\n\n"),
            "drops_what_it_holds": ("np.where(_IS_GRIPPER, np.minimum(follower, target), follower)", "follower"),
            "lost_followed": ("(is_stuck or is_lost)", "is_stuck"),
            "stuck_followed": ("(is_stuck or is_lost)", "is_lost"),
            "stuck_though_it_comes_nearer": ("obeys |= (target - last) * behind > 0.0", "pass"),
            "near_where_only_the_command_is": ("max(_distance(leader, follower), _distance(leader, command)) <", "_distance(leader, command) <"),
            "jump_of_the_command": ("max(_distance(leader, follower), _distance(leader, command)) <", "_distance(leader, follower) <"),
            "fast_approach": ("reach = self.config.approach_speed * self._step / _WEIGHTS", "reach = self.config.approach_speed / _WEIGHTS"),
            "without_a_leash": ("return follower + np.clip(wanted - follower, -leash, leash)", "return wanted"),
            "old_commands_go_on": ("        self._commands.clear()\n", ""),
            "stamp_of_the_future": ("stamp=now - _NUM_PAST * self._step", "stamp=now"),
            "one_joint_near": ("[~_IS_GRIPPER].max())", "[~_IS_GRIPPER].min())"),
        },
    ),
    *mutants_of(
        "wav_policy/teleoperation/leader_reader.py",
        ("tests/wav_policy/teleoperation/test_leader_reader.py",),
        {
            "half_heard_is_known": ("not self._is_shared and self._seen >= _COMPLETE", "not self._is_shared"),
            "follower_beside_it": ("not self._lost and not self._is_shared and", "not self._lost and"),
            "frame_believed_alone": ("            if not self._joints[number].take(angles, now):\n                return\n", ""),
            "stroke_believed_alone": ("            if not self._stroke.take(stroke, now):\n                return\n", ""),
            "joints_shifted": ("first = 2 * _JOINT_FRAMES.index(number)", "first = _JOINT_FRAMES.index(number)"),
            "caller_moves_it": ("return self._position.copy() if known", "return self._position if known"),
            "garbage_ends_it": ("except struct.error:", "except ZeroDivisionError:"),
        },
    ),
]  # fmt: skip
