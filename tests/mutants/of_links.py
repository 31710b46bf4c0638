"""Faults on the way between processes, buses and computers: clocks, posts, packets, pictures, links, power."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

_ARM_TESTS: Final = ("tests/wav_policy/piper/test_arm.py", "tests/wav_policy/piper/test_arm_stops.py")

MUTANTS: Final = [
    *mutants_of(
        "wav_policy/control/stamp_clock.py",
        ("tests/wav_policy/control/test_stamp_clock.py",),
        {
            "slewing_is_a_step": ("allowed = _SLEW * (now - self._looked)", "allowed = 0.0"),
            "step_stays_in_the_offset": ("self._offset += change\n", "self._offset += 0.0\n"),
            "ages_by_the_old_offset": ("return offset if abs(present - offset) <= _JITTER else present", "return offset"),
            "equal_stamps_differ": ("return offset if abs(present - offset) <= _JITTER else present", "return present"),
            "goes_on_at_once": ("elif now - self._stepped > _EVEN:", "elif True:"),
            "each_step_a_reason": ("self._inhibit or Inhibit(", "Inhibit("),
            "first_step_counts": ("self._stepped = now", "self._stepped = self._stepped if self._inhibit else now"),
        },
    ),
    *mutants_of(
        "wav_policy/sim/ticks.py",
        ("tests/wav_policy/sim/test_ticks.py",),
        {
            "missed_ticks_come_at_once": ("due = max(due + period, now - _MAX_LAG)", "due = due + period"),
            "late_ticks_are_lost": ("due = max(due + period, now - _MAX_LAG)", "due = now + period"),
        },
    ),
    *mutants_of(
        "wav_policy/sim/firmware/simulated_arm.py",
        ("tests/wav_policy/sim/test_ticks.py",),
        {"time_of_the_wall": ("self._time += self.rates.tick", "self._time = __import__('wav_policy.sim.ticks').sim.ticks.time.monotonic()")},
    ),
    *mutants_of(
        "wav_policy/nodes/sim_workers.py",
        ("tests/wav_policy/sim/test_ticks.py",),
        {"faster_than_the_wall": ("self._world.step(self._period)", "self._world.step(2.0 * self._period)")},
    ),
    *mutants_of(
        "wav_policy/sim/teleoperator.py",
        ("tests/wav_policy/sim/test_ticks.py",),
        {"leader_jumps": ("1.0 / frames_left)", "1.0)")},
    ),
    *mutants_of(
        "wav_policy/control/mailbox.py",
        ("tests/wav_policy/control/test_mailbox.py",),
        {
            "newest_offer_dropped": ("self._posts.remove(offers[0])", "self._posts.remove(offers[-1])"),
            "offers_without_bound": ("if len(offers) >= _MAX_OFFERS:", "if False:"),
            "services_dropped_for_offers": ("if waiting.is_offer] if", "] if"),
            "sleeps_beside_a_post": ("            if not self._posts:\n", "            if True:\n"),
            "withdrawn_is_done": ("            self._posts.remove(post)\n", "            pass\n"),
            "last_come_first_served": ("self._posts.popleft()", "self._posts.pop()"),
            "error_untold": ("            self.error = error\n", "            pass\n"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/arm_driver.py",
        ("tests/wav_policy/piper/test_faults.py",),
        {"pendant_overruled": ("return self.link.reader.codes.mode == ControlMode.CAN", "return True")},
    ),
    *mutants_of(
        "wav_policy/piper/power.py",
        (*_ARM_TESTS, "tests/wav_policy/piper/test_enable_gate.py", "tests/wav_policy/piper/test_faults.py", "tests/wav_policy/piper/test_firmware.py", "tests/wav_policy/piper/test_grips.py"),
        {
            "grips_again_with_power_back": ("        arm.has_let_go = arm.has_let_go or not arm.link.reader.gripper & GripperState.ENABLED\n", ""),
            "asked_once_for_its_limits": ("while untold_limits(arm.flash) and time.monotonic() < deadline:", "while False:"),
            "stall_stays": ("return not is_healthy(arm) or bool(motor_faults(arm.link.reader.codes.motors))", "return not is_healthy(arm)"),
            "powered_with_its_last_target": ("    arm.link.transmit(setpoint_frames(held, 0.0)[:-1])\n", ""),
            "powered_joints_sag": ("np.where(on, held, reading.position)", "reading.position"),
            "grips_again_after_a_trip": ("    arm.has_let_go = True\n    stroke", "    stroke"),
            "grips_again_at_the_second_try": ("    arm.has_let_go = True  # until", "    pass  # until"),
            "grips_what_another_master_opened": ("    arm.has_let_go = arm.has_let_go or arm.link.reader.leader_frames > 0\n", ""),
            "reset_after_a_stop": ("        require_not_stopped()\n        sdk.ResetPiper()", "        sdk.ResetPiper()"),
            "enabled_where_it_was_limp": ("while (reading := arm.read()) is None or reading is before:", "while (reading := arm.read()) is None:"),
            "flash_of_another_arm": ("if arm.flash is None or not _is_ready(arm):", "if arm.flash is None:"),
            "limp_gripper_powered": ("[frames.GRIPPER_ON_AND_CLEAR] * arm.status().is_enabled", "[frames.GRIPPER_ON_AND_CLEAR]"),
            "reset_of_the_stopped": ("if stopped() or (arm.status().is_stopped and not was_stopped):", "if arm.status().is_stopped and not was_stopped:"),
            "stop_of_the_arm_ignored": ("if stopped() or (arm.status().is_stopped and not was_stopped):", "if stopped():"),
            "reset_keeps_power": ("while not is_healthy(arm) or any(arm.status().enabled):", "while not is_healthy(arm):"),
            "leader_remembered": ("    arm.link.reader.forget_leader()\n", "    pass\n"),
            "gripper_stays_on": ("if not arm.link.reader.gripper & GripperState.ENABLED:", "if True:"),
            "enables_while_stopped": ('        if stopped():\n            raise EmergencyStoppedError(f"{arm}: stopped while', '        if False:\n            raise EmergencyStoppedError(f"{arm}: stopped while'),
        },
    ),
    *mutants_of(
        "wav_policy/piper/link.py",
        ("tests/wav_policy/piper/test_link.py", *_ARM_TESTS, "tests/wav_policy/piper/test_buses.py", "tests/wav_policy/piper/test_faults.py"),
        {
            "silence_is_no_outage": ("or self.reader.lost is not None or self.reader.age > self._feedback_timeout", "or self.reader.lost is not None"),
            "some_joints_are_enough": ("and reader.age <= self._feedback_timeout and not reader.missing:", "and reader.age <= self._feedback_timeout:"),
            "waits_do_not_grow": ("return min(2.0 * wait, _LONGEST_WAIT)", "return wait"),
            "old_diagnosis_stays": ('            self._diagnosis = ""\n', "            pass\n"),
            "sdk_remembers": ("C_PiperInterface_V2._instances.pop(self._channel, None)", "pass"),
            "reconnects_uncounted": ("self.reconnects += 1", "self.reconnects += 0"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/slcan_bus.py",
        ("tests/wav_policy/piper/test_buses.py", "tests/wav_policy/piper/test_hostile_lines.py"),
        {
            "cut_line_swallows_the_next": ("self.LINE_TERMINATOR + data if self._is_cut else data", "data"),
            "rest_of_a_line_is_lost": ("bytearray(rest[-64:])", "bytearray()"),
            "rest_without_bound": ("bytearray(rest[-64:])", "bytearray(rest)"),
            "time_stamps_are_garbage": ("if len(digits) == length or len(digits) == length + _TIME_STAMP:", "if len(digits) == length:"),
            "length_unchecked": ("if len(digits) == length or len(digits) == length + _TIME_STAMP:", "if True:"),
            "bell_spoils_a_frame": ('line.lstrip(b"\\a")', "line"),
            "empty_read_is_unplugged": ("if not data and self._is_hung_up():", "if not data:"),
            "unplugged_unnoticed": ("if not data and self._is_hung_up():", "if False:"),
            "errors_are_fine": ("has_errors=True, bitrate", "has_errors=False, bitrate"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/status.py",
        ("tests/wav_policy/piper/test_status.py", "tests/wav_policy/piper/test_inhibits.py", "tests/wav_policy/piper/test_faults.py"),
        {
            "limits_are_silences": ("if code & (1 << (8 + joint))", "if code & (1 << joint)"),
            "silences_are_limits": ("if code & (1 << joint)]", "if code & (1 << (8 + joint))]"),
            "next_joint_named": ('f"joint{joint + 1}: no communication"', 'f"joint{joint}: no communication"'),
            "mask_ignored": ("if code & bit & mask", "if code & bit"),
            "no_joints_are_enabled": ("return bool(self.enabled) and all(self.enabled)", "return all(self.enabled)"),
            "one_joint_is_enough": ("return bool(self.enabled) and all(self.enabled)", "return any(self.enabled)"),
            "hot_gripper_drops": ("sum(_GRIPPER_FAULTS) if is_off else _LASTING_GRIPPER_FAULTS", "sum(_GRIPPER_FAULTS)"),
            "gripper_off_unseen": ("if is_arm_on and not code & GripperState.ENABLED:", "if False:"),
            "limp_gripper_at_fault": ("if is_arm_on and not code & GripperState.ENABLED:", "if not code & GripperState.ENABLED:"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/maintenance.py",
        ("tests/wav_policy/cli/test_arm.py",),
        {
            "changes_under_power": ("if not change.needs_limp:", "if True:"),
            "changes_unheard": ("if change.needs_heard and not self.is_heard:", "if False:"),
            "limits_exchanged": ("joint, 10 * upper, 10 * lower, speed", "joint, 10 * lower, 10 * upper, speed"),
            "pendant_forgotten": ("max(coefficient, 100)", "100"),
            "clearing_switches_on": ("frames.GRIPPER_OFF_AND_CLEAR, 0)", "frames.GRIPPER_ON_AND_CLEAR, 0)"),
            "zero_of_all_joints": ('>BBBHBxx", joint, frames.CONFIRM, 0, _UNCHANGED, 0', '>BBBHBxx", _ALL_JOINTS, frames.CONFIRM, 0, _UNCHANGED, 0'),
            "stroke_unchecked": ('return "" if told == millimetres / 1000 else', 'return "" if True else'),
            "zero_unchecked": ("if abs(angle) >= _ZERO_TOLERANCE:", "if False:"),
        },
    ),
    *mutants_of(
        "wav_policy/piper/firmware.py",
        ("tests/wav_policy/piper/test_firmware.py",),
        {
            "date_in_the_version": ("if len(digits) > _DATE_LENGTH else", "if False else"),
            "last_version_is_well": ("if r.first <= version <= r.last", "if r.first <= version < r.last"),
            "newest_is_unknown": ("if version > NEWEST:", "if version >= NEWEST:"),
            "oldest_is_too_old": ("if version < OLDEST:", "if version <= OLDEST:"),
            "date_makes_another": ('built: str = field(default="", compare=False)', 'built: str = field(default="")'),
        },
    ),
    *mutants_of(
        "wav_policy/control/flash_check.py",
        ("tests/wav_policy/piper/test_flash_limits.py", "tests/wav_policy/piper/test_enable_gate.py"),
        {
            "longest_stroke": ("else min(STROKES) for flash", "else max(STROKES) for flash"),
            "stroke_widens": ("min([limits.position_max[-1], *strokes])", "min(strokes)"),
            "stroke_does_not_narrow": ("min([limits.position_max[-1], *strokes])", "limits.position_max[-1]"),
            "protection_off_is_well": ("if level == 0]", "if level is None]"),
            "wider_untold": ("if lower < configured[0] - _ANGLE_RESOLUTION or upper >", "if upper >"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/gateway_words.py",
        ("tests/wav_policy/nodes/messages/test_gateway_words.py",),
        {
            "rows_too_short": ("8 * JOINT_DIM * MAX_ROWS", "4 * JOINT_DIM * MAX_ROWS"),
            "beat_with_anything": ('if kind == b"B" and not data:', 'if kind == b"B":'),
            "errors_end_the_listener": ("except (struct.error, ValueError) as error:", "except struct.error as error:"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/runtime/chunk_listener.py",
        ("tests/wav_policy/nodes/test_chunk_gateway.py",),
        {
            "hanging_is_waited_for": ("if time.monotonic() - last > patience:", "if False:"),
            "silence_untold": ("            if self._listening:\n", "            if False:\n"),
            "death_moves_on": ('self._on_hold("policy lost: the process that listens to it is gone")', "pass"),
            "restarts_without_rest": ("pause = min(2.0 * pause, longest)", "pause = 0.0"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/images.py",
        ("tests/wav_policy/nodes/test_images.py",),
        {
            "lower_byte_shown": ("0 if message.is_bigendian else 1", "1 if message.is_bigendian else 0"),
            "padding_shown": ("step = message.step or length", "step = length"),
            "short_rows": ("if step < length or len(data)", "if len(data)"),
            "short_data": ("or len(data) < rows * step:", "or len(data) < length:"),
            "scans_without_bound": ("> _MAX_SCANS:", "> 10**9:"),
            "png_unchecked": ("    _check_png(data)\n", "    pass\n"),
            "depth_is_a_picture": ("if _NUMBERS.fullmatch(source):", "if False:"),
            "jpeg_repaired": ('colorspace="RGB", strict=True)', 'colorspace="RGB", strict=False)'),
            "odd_height": ("or (height % 2 and encoding.channels == 1)", ""),
            "size_unchecked_before_decoding": ("    _check_size(width, height)\n    if (scans", "    if (scans"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/remote/wire.py",
        ("tests/wav_policy/policy/remote/test_wire.py",),
        {
            "parts_without_bound": ("if self._left < 0:", "if False:"),
            "bytes_do_not_fit": ("if not isinstance(data, bytes) or len(data) != size:", "if not isinstance(data, bytes):"),
            "any_size": ("if len(data) > max_bytes:", "if False:"),
            "names_of_any_type": ("or not all(isinstance(key, str) for key in message)", ""),
            "dimensions_without_bound": ("or len(shape) > MAX_DIMENSIONS or", "or"),
            "extensions": ("ext_hook=_refuse_extension,", ""),
        },
    ),
    *mutants_of(
        "wav_policy/policy/remote/mapping.py",
        ("tests/wav_policy/policy/remote/test_mapping.py",),
        {
            "offset_scaled": ("return positions[..., self._index] * scale + offset", "return (positions[..., self._index] + offset) * scale"),
            "others_at_zero": ("np.broadcast_to(others, (*numbers", "np.broadcast_to(0.0 * others, (*numbers"),
            "nan_in_a_row": ("if not (usable := np.abs(rows[:, self._index]) <= _MAX_POSITION).all():", "if not (usable := ~(np.abs(rows[:, self._index]) > _MAX_POSITION)).all():"),
            "state_not_finite": ("if not np.isfinite(state).all():", "if False:"),
            "padding_at_one_side": ("(size[0] - height) // 2, (size[1] - width) // 2", "0, 0"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/serialized.py",
        ("tests/wav_policy/nodes/test_limits.py",),
        {
            "unaligned": ("        self._place += -self._place % 4\n", ""),
            "stamps_without_sign": ("return number - (1 << 32) if number >> 31 else number", "return number"),
            "end_of_a_text_kept": ("self.data()[:-1]", "self.data()[:]"),
            "short_pictures": ("if self._place > len(self._data):", "if False:"),
        },
    ),
    *mutants_of(
        "wav_policy/monitor/browser.py",
        ("tests/wav_policy/monitor/test_operator_bar.py",),
        {"asks_without_end": ("if len(tasks) > _MOST_AT_ONCE:", "if False:")},
    ),
    *mutants_of(
        "wav_policy/monitor/page.py",
        ("tests/wav_policy/monitor/test_page_requests.py",),
        {"done_late": ("if time.monotonic() - asked > OUTDATED:", "if False:")},
    ),
    *mutants_of(
        "wav_policy/monitor/replay.py",
        ("tests/wav_policy/monitor/test_recordings.py",),
        {
            "recorded_a_frame_late": ("recording.actions[index:-1]", "recording.actions[index + 1 :]"),
            "returns_a_frame_early": ("recording.values[index + 1 :]", "recording.values[index:]"),
        },
    ),
    *mutants_of(
        "wav_policy/monitor/open_recording.py",
        ("tests/wav_policy/monitor/test_recordings.py",),
        {"commands_of_the_row": ("episode.actions[due_rows(len(episode), stride)]", "episode.actions[::stride]")},
    ),
    *mutants_of(
        "wav_policy/nodes/monitor_feed.py",
        ("tests/wav_policy/nodes/test_monitor.py",),
        {"values_for_ever": ("self._value is not None and now - self._value[0] < _OLD_CHUNK", "self._value is not None")},
    ),
    *mutants_of(
        "wav_models/data/episode_lines.py",
        ("tests/wav_policy/recording/test_episode_writer.py", "tests/wav_models/rewards/test_label.py"),
        {
            "places_as_told": ("for name, number in zip(PLACE, place_of(path) or (), strict=False):", "for name, number in ():"),
            "columns_of_some_files": ("for name, dtype in (columns or {}).items():", "for name, dtype in ():"),
            "no_statistics": ("for feature, of_episode in (stats or {}).items():", "for feature, of_episode in ():"),
        },
    ),
]  # fmt: skip
