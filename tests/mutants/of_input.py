"""Faults of what comes in and is counted: configuration, pictures, messages, recordings, graphs, trials."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

_GATEWAY: Final = tuple(
    f"tests/wav_policy/nodes/test_chunk_gateway.py::{name}"
    for name in (
        "test_of_many_words_the_newest_are_told",
        "test_nobody_waits_for_a_reader_who_does_not_read",
        "test_it_says_when_nobody_is_left",
        "test_after_something_large_it_rests_and_beats_on",
        "test_a_callback_that_fails_holds_the_arms_and_does_not_end_the_listening",
        "test_the_rest_after_a_message_that_was_refused_does_not_hide_why",
    )
)

MUTANTS: Final = [
    *mutants_of(
        "wav_models/configuration.py",
        ("tests/wav_models/test_configuration.py",),
        {
            "unknown_key_taken": ("        if key not in known:\n", "        if False:\n"),
            "truth_is_a_number": ("    elif isinstance(value, bool):\n        fits = hint is bool\n", ""),
            "infinite_taken": ("if -_MAX_NUMBER <= value <= _MAX_NUMBER:", "if True:"),
            "range_without_end": ("and number <= self.high", "and True"),
            "zero_is_above_zero": ("(number > self.low if self.above else number >= self.low)", "number >= self.low"),
            "key_given_twice_in_a_file": ("    if len(found) < len(pairs):\n", "    if False:\n"),
            "setting_given_twice": ("        if key in seen:\n", "        if False:\n"),
            "default_of_the_class_in_every_place": ("_defaults_in(known[key], values))", "{})"),
            "list_too_long_taken": ("    if len(items) != len(hints):\n        raise _Misfit(value, hint)\n", "    hints = hints[: len(items)]\n    items = items[: len(hints)]\n"),
        },
    ),
    *mutants_of(
        "wav_models/checkpoint_files.py",
        ("tests/wav_models/test_checkpoint_files.py",),
        {
            "damaged_weights_loaded": ("            self._compare(name)\n            return read_tensors", "            return read_tensors"),
            "link_out_of_it_followed": ("if not path.resolve(strict=True).is_relative_to(self.directory.resolve()):", "if False:"),
            "lost_file_not_missed": ("        if missing:\n", "        if False:\n"),
        },
    ),
    *mutants_of(
        "wav_policy/bringup/parameter_files.py",
        ("tests/wav_policy/nodes/test_parameters.py", "tests/wav_policy/bringup/test_node_table.py"),
        {
            "section_for_another_node": ("if _matches(pattern, node)]", "if True]"),
            "star_stands_for_many": ('"*": r"/\\w+",', '"*": r"(/\\w+)*",'),
            "decided_by_the_file": ("{**stated, **decided}", "{**decided, **stated}"),
            "file_that_rcl_refuses": ("    if value is None:\n        return \"has no value\"\n", ""),
            "list_of_two_types": ("        if len(kinds) > 1:\n", "        if len(kinds) > 2:\n"),
        },
    ),
    *mutants_of(
        "wav_policy/bringup/system_lock.py",
        ("tests/wav_policy/bringup/test_supervisor.py::test_one_system_per_domain",),
        {
            "two_systems": ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
            "lock_on_a_file_that_may_go": ("os.open(directory, os.O_RDONLY | os.O_DIRECTORY)", "os.open(note, os.O_RDWR | os.O_CREAT)"),
        },
    ),
    *mutants_of(
        "wav_policy/bringup/supervisor.py",
        ("tests/wav_policy/bringup/test_supervisor.py",),
        {
            "parks_after_a_death": ("        return managed + [child for child in backwards if not child.managed]\n", "        return backwards\n"),
            "everybody_has_a_moment": ("_stop_group(child.process, child.stop_time)", "_stop_group(child.process, 0.1)"),
            "children_are_left": ("            os.killpg(process.pid, number)\n", "            os.kill(process.pid, number)\n"),
            "last_word_is_the_cause": ("if not self._cause and (fatal := _FATAL.search(line)):", "if fatal := _FATAL.search(line):"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/lifecycle_manager.py",
        ("tests/wav_policy/nodes/test_lifecycle_manager.py",),
        {
            "parks_though_one_is_gone": ("        orderly = orderly and State.PRIMARY_STATE_UNKNOWN not in states.values()\n", ""),
            "parks_after_a_failed_start": ("    if orderly:\n        return", "    if True:\n        return"),
            "down_as_it_came_up": ("for name in reversed(self.config.node_names)}", "for name in self.config.node_names}"),
            "clients_are_offers": ("self._client(Trigger, service).service_is_ready, service)", "lambda: service.lstrip('/') in str(self.get_service_names_and_types()), service)"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/runtime/camera_subscriptions.py",
        ("tests/wav_policy/nodes/test_camera_subscriptions.py",),
        {
            "damage_believed": ("if count * _REMEMBERED > _MOST_DAMAGED * seen:", "if False:"),
            "one_damaged_of_sixteen_is_too_many": ("_MOST_DAMAGED: Final = 3", "_MOST_DAMAGED: Final = 0"),
            "first_compressed_one_acted_on": ("return image if seen >= _LOOKED_AT_FIRST else None", "return image"),
            "whole_ones_of_before_the_raw_ones_count": ("            self._were_damaged[view].clear()\n", ""),
            "decoded_twice": ("        if now - self._last_raw[view] <= PREFERRED:\n            return\n", ""),
            "blamed_for_what_nobody_needs": ("is_blamed=now - self._last_compressed[view] > PREFERRED", "is_blamed=True"),
            "grey_said_again_and_again": ("if not has_colour and self._has_colour[view] is None:", "if not has_colour:"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/authors.py",
        ("tests/wav_policy/nodes/messages/test_authors.py",),
        {
            "restart_is_a_second_one": ("len(self._falls) == 2 and", "len(self._falls) >= 1 and"),
            "two_are_one": ("        if number <= self._last:\n", "        if False:\n"),
            "restart_of_long_ago_counts": ("now - self._falls[0] <= REMEMBERED", "True"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/messages/limits.py",
        ("tests/wav_policy/nodes/test_limits.py",),
        {
            "any_size": ("    if len(data) > limit:\n", "    if False:\n"),
            "any_number_of_rows": ("if (rows := reader.count()) > MAX_ROWS:", "if (rows := reader.count()) > 2**31:"),
            "any_number_of_names": ("if (names := reader.count()) > most:", "if (names := reader.count()) > 2**31:"),
        },
    ),
    *mutants_of(
        "wav_policy/nodes/chunk_gateway.py",
        _GATEWAY,
        {
            "reason_to_hold_dropped": ("reasons = [earlier for earlier in self._pending if not isinstance(earlier, ActionChunk)]", "reasons = []"),
            "chunk_before_the_reason": ("        self._pending = [*reasons, word]\n", "        self._pending = [word, *reasons]\n"),
            "refusal_hidden_by_a_rest": ("if not self._pending or isinstance(self._pending[-1], ActionChunk):", "if True:"),
            "waits_for_the_reader": ("socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL", "socket.MSG_NOSIGNAL"),
            "no_rest": ("if (busy := time.thread_time() - before) > _LARGE:", "if (busy := time.thread_time() - before) > 1e9:"),
            "one_failure_ends_it": ("if failures > _TOLERATED or", "if failures > 0 or"),
        },
    ),
    *mutants_of(
        "wav_policy/recording/sources.py",
        ("tests/wav_policy/recording/test_episode_recording.py",),
        {
            "action_of_now": ('| {"action": tick + period}', '| {"action": tick}'),
            "no_gap_is_too_long": ("if found is not None and time - found.first_seen <= self.limits.max_gap:", "if found is not None:"),
            "picture_sent_again_is_new": ("is_same=is_same_picture if source in VIEWS else None", "is_same=None"),
            "number_that_no_dataset_holds": ("if (bad := first_not_finite(positions)) is not None:", "if (bad := first_not_finite(0 * np.zeros(14))) is not None:"),
            "effort_told_though_untold": ("self._efforts_since = math.inf if untold else", "self._efforts_since ="),
        },
    ),
    *mutants_of(
        "wav_policy/recording/episode_recording.py",
        ("tests/wav_policy/recording/test_episode_recording.py",),
        {
            "sampled_before_it_came": ("+ self._period + settle <= now", "+ settle <= now"),
            "late_pictures_not_waited_for": ("            if self._late(sample.stale if ended else self._waiting[0].stale):\n                return\n", ""),
            "clock_set_back_goes_on": ("        if now < self._latest - SETTLE:\n", "        if False:\n"),
            "clock_set_forward_is_a_slow_machine": ("if forward > _CLOCK_STEP else str(error)", "if False else str(error)"),
            "bridged_unsaid": ("        self._bridged.update(sample.stale)\n", ""),
            "same_capture_counts_twice": ("if not self._seen[source] or time > self._seen[source][-1]:", "if True:"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/playback.py",
        ("tests/wav_policy/policy/test_playback.py",),
        {
            "late_frames_shown": ("while self._frames and self._frames[0].stamp < now - _LATE:", "while False:"),
            "older_future_goes_on": ("[frame for frame in self._frames if frame.stamp < frames[0].stamp]", "self._frames"),
            "older_future_forgotten_at_once": ("self._frames = [*earlier, *frames]", "self._frames = [*frames]"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/rate_limit.py",
        ("tests/wav_policy/policy/test_rate_limit.py",),
        {"all_of_the_time": ("(self._clock() - began) / self._share", "(self._clock() - began)")},
    ),
    *mutants_of(
        "wav_models/engines/onnx/passes.py",
        ("tests/wav_models/engines/onnx/test_passes.py",),
        {
            "factor_forgotten": ("parts.tensors[maker.input[place]] * factor.flatten()", "parts.tensors[maker.input[place]] * 1.0"),
            "bias_keeps_its_size": ('"MatMulIntegerToFloat": (3, 6)', '"MatMulIntegerToFloat": (3,)'),
            "factor_of_another_output": ("or readers[values[0]] != 1:", "or False:"),
            "factor_of_every_row_is_one": ("if not places or factor.ndim == 0 or len(sizes) != 1:", "if not places or factor.ndim == 0:"),
            "weights_not_turned": ("parts.tensors[node.input[0]].t()", "parts.tensors[node.input[0]]"),
            "eight_bits_are_nine": ("/ (2 ** (weight_bits() - 1) - 1)", "/ (2 ** weight_bits() - 1)"),
            "scale_over_inputs": ("weight.abs().amax(dim=0)", "weight.abs().amax()"),
            "activations_quantised_again": ("        if activations not in quantized:\n            quantized.add(activations)\n", "        if True:\n            quantized.add(activations)\n"),
            "constants_computed_every_time": ("        if not constant or node.op_type", "        if True or node.op_type"),
        },
    ),
    *mutants_of(
        "wav_models/evaluation/statistics.py",
        ("tests/wav_models/evaluation/test_statistics.py",),
        {
            "interval_of_failures": ("binomtest(successes, trials)", "binomtest(trials - successes, trials)"),
            "another_interval": ('method="wilson"', 'method="exact"'),
            "gained_is_lost": ("gained = sum(b and not a", "gained = sum(a and not b"),
            "all_pairs_tested": ("binomtest(gained, gained + lost)", "binomtest(gained, len(first))"),
        },
    ),
    *mutants_of(
        "wav_models/evaluation/trial_log.py",
        ("tests/wav_models/evaluation/test_trial_log.py",),
        {
            "first_log_put_aside_is_lost": ("if not name.exists())", "if True)"),
            "two_evaluations_into_one_file": ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
            "text_for_a_success": ("from_dict(TrialResult, row[\"trial\"])", "TrialResult(**{**row[\"trial\"], \"plan_ms\": ()})"),
        },
    ),
    *mutants_of(
        "wav_policy/experiments/suites/environment.py",
        ("tests/wav_policy/experiments/suites/test_environment.py",),
        {
            "waited_for_again_and_again": ("            self._silent_starts += 1\n", ""),
            "never_waited_for_again": ("self._task, self._silent_starts = task, 0", "self._task = task"),
        },
    ),
    *mutants_of(
        "wav_models/experiments/conditions.py",
        ("tests/wav_models/experiments/test_planners.py",),
        {
            "action_noise_is_the_checkpoint_s": ("    \"action_noise_std\",\n", ""),
            "fresh_is_refitted": ("\"std_update_rate\": 0.0", "\"std_update_rate\": 0.9"),
        },
    ),
    *mutants_of(
        "wav_models/evaluation/closed_loop.py",
        ("tests/wav_models/evaluation/test_closed_loop.py",),
        {
            "new_chunk_at_once": ("now + settings.latency_steps * period", "now"),
            "every_plan_of_a_trial_draws_alike": ("SeedSequence([episode_seed, step])", "SeedSequence([episode_seed, 0])"),
            "every_trial_draws_alike": ("SeedSequence([episode_seed, step])", "SeedSequence([0, step])"),
            "row_before_the_due_one": ("row = self._num_steps - round(self._chunk.stamp / self._period)", "row = self._num_steps - 1 - round(self._chunk.stamp / self._period)"),
            "plans_every_step": ("if step % settings.replan_steps == 0:", "if True:"),
        },
    ),
    *mutants_of(
        "wav_policy/experiments/robot_stack.py",
        ("tests/wav_policy/experiments/test_robot_stack.py",),
        {
            "around_the_filter": ("        self._target = decision.target\n", "        self._target = decision.target if command is None else command\n"),
            "bad_chunk_followed_by_the_one_before": ("            self._executor.clear()\n", "            pass\n"),
        },
    ),
    *mutants_of(
        "wav_policy/control/loop_phases.py",
        ("tests/wav_policy/control/test_loop_phases.py",),
        {
            "stop_that_still_commands": ("yield (phase, Trigger.TRIP), Phase.STOPPED", "yield (phase, Trigger.TRIP), Phase.STOPPING"),
            "fault_that_is_forgotten": ("yield (phase, Trigger.FAULT), Phase.STOPPING", "yield (phase, Trigger.FAULT), Phase.RELEASING"),
            "chunk_follows_a_jump": ("Phase.HELD: (Trigger.LAG, Trigger.JUMP),\n    },\n    Phase.MOVING", "Phase.HELD: (Trigger.LAG,),\n    },\n    Phase.MOVING"),
            "released_arm_follows": ("Phase.RELEASED: {Phase.FOLLOWING: (Trigger.ENGAGE,),", "Phase.RELEASED: {Phase.FOLLOWING: (Trigger.ENGAGE, Trigger.MOVE),"),
        },
    ),
    *mutants_of(
        "wav_policy/control/calm_motion.py",
        ("tests/wav_policy/control/test_calm_motions.py",),
        {
            "arrived_anywhere": ("np.abs(target - self._goal).max() < _ARRIVED", "True"),
            "arrived_in_motion": ("return True if rests and self.is_goal(target) else None", "return True if self.is_goal(target) else None"),
            "last_word_stands": ("        if not self._ended.is_set():\n            self.has_arrived", "        if True:\n            self.has_arrived"),
            "no_patience": ("self.patience = PATIENCE * self.duration", "self.patience = 0.1 * self.duration"),
        },
    ),
]  # fmt: skip
