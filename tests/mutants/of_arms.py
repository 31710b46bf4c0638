"""Faults between the control loop and the arms: frames, units, what is believed of what they say, inhibits."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

MUTANTS: Final = [
    *mutants_of(
        "wav_policy/piper/feedback.py",
        ("tests/wav_policy/piper/test_belief.py",),
        {
            "rare_damage_adds_up": ("and now - self._foreign_at > _MASTER_PAUSE", "and False"),
            "one_foreign_set_point_is_a_master": ("if self._foreign_setpoints > 1 else 0", "if self._foreign_setpoints > 0 else 0"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/units.py",
        ("tests/wav_policy/piper/test_units.py",),
        {
            "stroke": ("_COUNTS_PER_METRE = 1_000_000", "_COUNTS_PER_METRE = 100_000"),
            "angle": ("math.pi / 180_000", "math.pi / 18_000"),
            "effort": ("_COUNTS_PER_NEWTON_METRE = 1_000", "_COUNTS_PER_NEWTON_METRE = 100"),
            "speed": ("_COUNTS_PER_RADIAN_PER_SECOND = 1_000", "_COUNTS_PER_RADIAN_PER_SECOND = 100"),
            "rate_limit": ("_COUNTS_PER_RATE_LIMIT = 100", "_COUNTS_PER_RATE_LIMIT = 1_000"),
            "truncates": ("[round(angle / _RADIANS_PER_COUNT) for", "[int(angle / _RADIANS_PER_COUNT) for"),
            "limit_counts": ("math.radians(count / 10)", "math.radians(count / 100)"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/bimanual.py",
        ("tests/wav_policy/piper/test_bimanual.py",),
        {
            "right_gets_left_target": ("self.right.write(position[ARM_DOF:])", "self.right.write(position[:ARM_DOF])"),
            "left_gets_right_target": ("self.left.write(position[:ARM_DOF])", "self.left.write(position[ARM_DOF:])"),
            "arms_exchanged": ("position=np.concatenate([left.position, right.position])", "position=np.concatenate([right.position, left.position])"),
            "velocities_exchanged": ("velocity=np.concatenate([left.velocity, right.velocity])", "velocity=np.concatenate([right.velocity, left.velocity])"),
            "milder_inhibit_wins": ("return left if left.reaction >= right.reaction else right", "return left if left.reaction <= right.reaction else right"),
            "one_inhibit_is_none": ("return left or right\n", "return None\n"),
            "youngest_stamp": ("return min(self.stamps)", "return max(self.stamps)"),
            "muted_gets_target": ("self.left.probe() if mute[0]", "self.left.probe() if False"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/inhibits.py",
        ("tests/wav_policy/piper/test_inhibits.py", "tests/wav_policy/piper/test_faults.py"),
        {
            "leader_unseen": ("if leader_frames:", "if False:"),
            "emergency_stop_only_holds": ('Reaction.STOP, "emergency stop"', 'Reaction.HOLD, "emergency stop"'),
            "motor_fault_unseen": ("    if latching:", "    if False:"),
            "loss_of_power_unseen": ("    if off:", "    if False:"),
            "teach_unseen": ("if codes.mode == ControlMode.TEACH:", "if False:"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/bimanual.py",
        ("tests/wav_policy/piper/test_bimanual.py",),
        {
            "efforts_exchanged": ("effort=np.concatenate([left.effort, right.effort])", "effort=np.concatenate([right.effort, left.effort])"),
            "told_at_the_faster_rate": ("left.stamp != self._paired[0] and right.stamp", "left.stamp != self._paired[0] or right.stamp"),
            "told_again": ("self._paired = (left.stamp, right.stamp)\n", "pass\n"),
            "silent_after_a_clock_went_back": ("left.stamp != self._paired[0] and", "left.stamp > self._paired[0] and"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/feedback.py",
        ("tests/wav_policy/piper/test_belief.py",),
        {
            "volts_of_centivolts": ("self._voltages[joint] = voltage / 10", "self._voltages[joint] = voltage / 100"),
            "highest_supply": ("return min(self._voltages)", "return max(self._voltages)"),
            "velocity_of_two_readings": ("while len(self._history) > 2 and now - self._history[1][0] >= _VELOCITY_WINDOW:", "while len(self._history) > 2:"),
            "velocity_of_long_ago": ("now - self._history[1][0] >= _VELOCITY_WINDOW:", "False:"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/frames.py",
        ("tests/wav_policy/piper/test_belief.py",),
        {
            "mit_mode_of_others_unseen": ("[*range(0x151, 0x160), FrameId.MOTOR_POWER]", "[*range(0x151, 0x159), FrameId.MOTOR_POWER]"),
            "power_of_others_unseen": ("[*range(0x151, 0x160), FrameId.MOTOR_POWER]", "[*range(0x151, 0x160)]"),
            "changed_ids_unseen": ("*range(0x2C1, 0x2C9)", "*range(0x2C1, 0x2C4)"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/inhibits.py",
        ("tests/wav_policy/piper/test_inhibits.py",),
        {
            "silent_joint6_unseen": ("if codes.error_bits & 0x3F:", "if codes.error_bits & 0x1F:"),
            "stalled_joint_unseen": (" | MotorState.DRIVER_HOT | MotorState.STALL", " | MotorState.DRIVER_HOT"),
            "collision_passes": ("MotorState.COLLISION | MotorState.ERROR", "MotorState.ERROR"),
            "mildest_told": ("_state_inhibit(arm, codes) or _mode_inhibit(arm, codes) or _passing_inhibit(arm, codes)", "_passing_inhibit(arm, codes) or _mode_inhibit(arm, codes) or _state_inhibit(arm, codes)"),
        },
    ),
]  # fmt: skip
