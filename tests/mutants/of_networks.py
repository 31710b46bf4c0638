"""Faults in flow, networks, losses, normalisation and rewards: what is learned, and from what."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

_NETWORKS: Final = ("tests/wav_models/networks/test_video_dit.py", "tests/wav_models/networks/test_experts.py")
_DISTIL: Final = ("tests/wav_models/training/test_distil.py",)
_STAGES: Final = ("tests/wav_models/training/test_stages.py", "tests/wav_models/training/test_futures.py")
_DATA: Final = ("tests/wav_models/training/test_data.py",)
_REWARDS: Final = ("tests/wav_models/rewards/test_terms.py", "tests/wav_models/rewards/test_returns.py")

MUTANTS: Final = [
    *mutants_of(
        "wav_models/flow.py",
        ("tests/wav_models/test_flow.py", "tests/wav_models/networks/test_video_dit.py"),
        {
            "velocity_sign": ("return x_1 - x_0", "return x_0 - x_1"),
            "time_reversed": ("return (1.0 - flow_time) * TIMESTEPS", "return flow_time * TIMESTEPS"),
            "ends_exchanged": ("(1.0 - t) * x_0 + t * x_1", "t * x_0 + (1.0 - t) * x_1"),
            "euler_of_step_ends": ("* velocity(x, time)", "* velocity(x, following)"),
            "euler_to_one": ("euler_through(velocity, x_0, equal_times(num_steps, end))", "euler_through(velocity, x_0, equal_times(num_steps))"),
        },
    ),
    *mutants_of(
        "wav_models/networks/video_dit.py",
        ("tests/wav_models/networks/test_video_dit.py::test_views_see_each_other_in_every_third_block",),
        {
            "no_cross_view": ("joint=index % video.cross_view_every == 0", "joint=False"),
            "cross_view_everywhere": ("joint=index % video.cross_view_every == 0", "joint=True"),
        },
    ),
    *mutants_of(
        "wav_models/networks/video_dit.py",
        _NETWORKS,
        {
            "memory_is_noise": ("MEMORY_FLOW_TIME = 1.0", "MEMORY_FLOW_TIME = 0.0"),
            "text_mask_inverted": ("(~text_mask).to", "text_mask.to"),
            "future_where_memory_is": ("self._rope(self.num_memory_frames, None)", "self._rope(0, 3)"),
            "no_view_embedding": ("rows.modulation + view[:, None, None]", "rows.modulation + 0 * view[:, None, None]"),
        },
    ),
    *mutants_of(
        "wav_models/networks/blocks.py",
        _NETWORKS,
        {
            "views_as_tokens_of_one": ("x.flatten(1, 3) for x in context", "x.flatten(0, 1).flatten(1, 2) for x in context"),
            "gate_dropped": ("torch.addcmul(hidden, attended, gate_1)", "hidden + attended"),
            "value_attention_dropped": ("cross = cross + self.attn3(", "cross = cross + 0 * self.attn3("),
        },
    ),
    *mutants_of(
        "wav_models/networks/modulation.py",
        _NETWORKS,
        {
            "head_sign": ("return -projection(", "return projection("),
            "scale_without_one": ("rms_norm(x, NORM_EPS), 1.0 + scale", "rms_norm(x, NORM_EPS), scale"),
        },
    ),
    *mutants_of(
        "wav_models/networks/rope.py",
        _NETWORKS,
        {
            "turned_backwards": ("torch.complex(rope.cos.float(), rope.sin.float())", "torch.complex(rope.cos.float(), -rope.sin.float())"),
            "frames_unscaled": ("* scale[0] / BASE_SECONDS", "/ BASE_SECONDS"),
        },
    ),
    *mutants_of(
        "wav_models/networks/action_dit.py",
        _NETWORKS,
        {
            "state_is_noise": ("torch.full((1, 1, 1), MEMORY_FLOW_TIME", "torch.full((1, 1, 1), 0.0"),
            "state_not_dropped": ("x[:, :, hidden.shape[2] - num_steps :]", "x[:, :, :num_steps]"),
        },
    ),
    *mutants_of(
        "wav_models/training/stages.py",
        _STAGES,
        {
            "video_weight_ignored": ("config.video_weight * video_loss", "0.0 * video_loss"),
            "value_weight_ignored": ("config.value_weight * value_loss", "0.0 * value_loss"),
            "value_features_zeroed": ("tuple(f[:, 0] for f in features)  # Eq. 3", "tuple(torch.zeros_like(f[:, 0]) for f in features)  # Eq. 3"),
            "video_target_is_data": ("mse_loss(output.velocity.float(), velocity_target(x_0, x_1))", "mse_loss(output.velocity.float(), x_1)"),
            "value_loss_on_video_input": ("expert_pass(self.model.value, batch.values,", "expert_pass(self.model.value, 0 * batch.values,"),
            "action_loss_on_nothing": ("model.action, batch.actions, config", "model.action, 0 * batch.actions, config"),
            "failures_imitated": ("batch.imitated[:, None, None]", "1 + 0 * batch.imitated[:, None, None]"),
            "prefix_judged": ("learnt = learnt * ~prefix.given", "learnt = learnt * 1"),
            "reached_states_given": ("action_dim :] = 0.0", "action_dim :] *= 1.0"),
            "prefix_noisy": ("prefix.tokens[:, None], x_t)", "x_t, x_t)"),
            "expert_target_sign": ("velocity_target(x_0, data), output.features", "velocity_target(data, x_0), output.features"),
            "video_trains_value_only": ('parts = ("video",)', 'parts = ("value",)'),
            "value_stage_trains_video": ('parts = ("value",)', 'parts = ("video", "value")'),
            "noisiest_never": ("torch.where(noisiest, 0.0, flow_time)", "flow_time"),
            "memory_noise_off": ("latents + self.config.memory_noise *", "latents + 0.0 *"),
            "captions_never_dropped": ("torch.where(dropped, 0, batch.text)", "batch.text"),
            "memory_kept": (">= fraction\n", ">= 0.0\n"),
            "own_futures_judged": ("rest = slice(num_own, None)", "rest = slice(0, None)"),
            "state_never_dropped": ("if config.state_dropout > 0.0:", "if False:"),
            "video_as_fast_as_experts": ("self.config.video_rate if name.startswith", "1.0 if name.startswith"),
        },
    ),
    *mutants_of(
        "wav_models/training/data/batches.py",
        _DATA,
        {
            "actions_one_late": ("targets = data.actions[self._clamped(steps, chunk)]", "targets = data.actions[self._clamped(steps, chunk + 1)]"),
            "states_one_early": ("reached = data.states[self._clamped(steps, chunk + 1)]", "reached = data.states[self._clamped(steps, chunk)]"),
            "values_from_now": ("later = np.arange(1, horizon.value_horizon + 1)", "later = np.arange(0, horizon.value_horizon)"),
            "over_the_end": ("self.episodes.last[steps, None])", "len(self.episodes) - 1)"),
        },
    ),
    *mutants_of(
        "wav_models/data/mapping.py",
        ("tests/wav_policy/recording/test_conversion.py", "tests/wav_policy/recording/test_odd_datasets.py"),
        {
            "relative_without_state": ("np.where(relative, states, offset)", "offset"),
            "offset_forgotten": ("states = scale * states + offset", "states = scale * states"),
            "unit_of_actions_ignored": ("_per_joint(self.action_scale, scale, robot.actions)", "scale"),
            "actions_due_now": ("at(times + 1.0 / rate, actions", "at(times, actions"),
            "next_picture": ("np.ceil(times * fps - 0.5 - 1e-6)", "np.ceil(times * fps + 0.5)"),
        },
    ),
    *mutants_of(
        "wav_models/data/mapped_dataset.py",
        ("tests/wav_policy/recording/test_odd_datasets.py",),
        {
            "rows_as_they_lie": ("if (order == count).all() else table.take(pa.array(order))", ""),
            "any_timestamp": ("np.abs(times - due) > (0.5", "np.abs(times - due) > (1e12"),
        },
    ),
    *mutants_of(
        "wav_models/data/suggestion.py",
        ("tests/wav_policy/recording/test_stored_datasets.py",),
        {
            "grippers_where_ours_are": ("    if not grippers:\n", "    if True:\n"),
            "actions_as_the_state": ("widths != state_widths or any", "any"),
            "poses_are_joints": ("and of_joints(key)", ""),
        },
    ),
    *mutants_of(
        "wav_models/data/stored_images.py",
        ("tests/wav_policy/recording/test_stored_datasets.py",),
        {
            "cameras_are_alike": ("{self.path.stat().st_size} {self.key}", "{self.path.stat().st_size}"),
            "files_of_others": ("not file.is_relative_to(self.root) or", ""),
        },
    ),
    *mutants_of(
        "wav_models/data/tables.py",
        ("tests/wav_policy/recording/test_stored_datasets.py",),
        {
            "pictures_as_they_lie": ("table.take(pc.sort_indices(table[\"frame_index\"]))", "table"),
            "pictures_of_all_episodes": ("table.filter(pc.equal(table[\"episode_index\"], index))", "table"),
        },
    ),
    *mutants_of(
        "wav_models/data/marks.py",
        ("tests/wav_policy/recording/test_stored_datasets.py",),
        {
            "any_reward": ("return mark >= least", "return mark > 0"),
            "all_frames": ("True in found for", "False not in found for"),
        },
    ),
    *mutants_of(
        "wav_models/data/video_reader.py",
        ("tests/wav_models/data/test_video_reader.py",),
        {
            "first_picture_of_the_half_frame": ("around[-1][0] < place - SAME_PLACE", "around[-1][0] < place - 0.5"),
            "beyond_the_episode": ("if (first + index + 0.5) / fps < to_timestamp", ""),
        },
    ),
    *mutants_of(
        "wav_models/alignment.py",
        ("tests/wav_models/test_alignment.py", *_DATA),
        {
            "memory_of_the_future": ("np.maximum(np.asarray(now)[..., None] + offsets", "np.maximum(np.asarray(now)[..., None] - offsets"),
            "memory_of_the_episode_before": (", np.asarray(first)[..., None])", ", 0)"),
            "memory_in_seconds_of_steps": ("np.asarray(horizon.memory_offsets) / horizon.step_hz", "np.asarray(horizon.memory_offsets) * horizon.step_hz"),
            "oldest_newer": ("side=\"right\") - 1", "side=\"right\")"),
        },
    ),
    *mutants_of(
        "wav_models/data/samples.py",
        ("tests/wav_models/data/test_samples.py",),
        {
            "actions_early": ("stride * (action_steps + 1) - 1", "stride * action_steps"),
            "states_of_now": ("states=frames(action_steps + 1)", "states=frames(action_steps)"),
            "values_of_now": ("values=frames(np.arange(1, horizon.value_horizon + 1", "values=frames(np.arange(0, horizon.value_horizon"),
            "end_not_clamped": ("np.clip(t + stride * steps, 0, length - 1)", "np.clip(t + stride * steps, 0, None)"),
            "last_motion_held": ("robot.actions], due, motions)", "robot.actions], due, due)"),
        },
    ),
    *mutants_of(
        "wav_models/data/normalization.py",
        ("tests/wav_models/data/test_normalization.py", "tests/wav_models/test_embodiment.py"),
        {
            "state_token_first": ("[no_action, state]", "[state, no_action]"),
            "encode_by_wrong_statistics": ("_standardise(states - origin, self.state_diff_mean", "_standardise(states - origin, self.action_diff_mean"),
            "actions_absolute": ("actions - origin if self.embodiment.relative_to_state else actions", "actions"),
            "actions_stay_differences": ("return decoded + state[..., None, :] if self.embodiment.relative_to_state else decoded", "return decoded"),
            "deltas_are_targets": ("return decoded + state[..., None, :] if self.embodiment.relative_to_state else decoded", "return decoded + state[..., None, : decoded.shape[-1]]"),
            "states_stay_differences": ("self.state_diff_std) + state[..., None, :]", "self.state_diff_std)"),
            "decode_states_of_actions": ("predicted = x[..., self.embodiment.action_dim :]", "predicted = x[..., : self.embodiment.state_dim]"),
            "values_without_symlog": ("_standardise(symlog(values), self.value_mean", "_standardise(values, self.value_mean"),
            "returns_by_first_term": ("x * float(self.value_std[-1]) + float(self.value_mean[-1])", "x * float(self.value_std[0]) + float(self.value_mean[0])"),
            "no_floor": ("np.maximum(np.std(data, axis=0, dtype=np.float64), floor)", "np.std(data, axis=0, dtype=np.float64) + 1e-12"),
            "floor_of_joints_for_grippers": ("STD_FLOOR[channel.unit] for channel in embodiment.state", 'STD_FLOOR["rad"] for channel in embodiment.state'),
            "symlog_sign": ("xp.sign(x) * xp.log1p", "xp.log1p"),
            "standardise_by_variance": ("(x - _like(mean, x)) / _like(std, x)", "(x - _like(mean, x)) / _like(std * std, x)"),
        },
    ),
    *mutants_of(
        "wav_models/rewards/returns.py",
        _REWARDS,
        {
            "unscaled": ("(1.0 - discount) * float(rewards[t])", "float(rewards[t])"),
            "end_is_zero": ("rewards[-1] if final_reward is None", "0.0 if final_reward is None"),
            "failure_ignored": ("else final_reward)", "else rewards[-1])"),
        },
    ),
    *mutants_of(
        "wav_models/rewards/terms.py",
        _REWARDS,
        {
            "all_columns": ("source[:, first:end] if end else source", "source"),
            "goal_is_first_frame": ("images[-1].astype(np.float32)\n    return np.exp(-MSE", "images[0].astype(np.float32)\n    return np.exp(-MSE"),
            "mse_sign": ("np.exp(-MSE_SCALE", "np.exp(MSE_SCALE"),
            "ssim_unshifted": ("goal) - 1.0 for image", "goal) for image"),
            "proximity_to_start": ("states - states[-1], axis=1", "states - states[0], axis=1"),
            "acceleration_is_velocity": ("_total_difference(rows, order=2)", "_total_difference(rows, order=1)"),
            "differences_one_early": ("total[order:] = ", "total[: len(total) - order] = "),
        },
    ),
    *mutants_of(
        "wav_models/embodiments.py",
        _REWARDS,
        {
            "arms_exchanged": ('{"left": (0, 7), "right": (7, 14)}', '{"left": (7, 14), "right": (0, 7)}'),
            "velocity_rewarded": ('"total_velocity", "state", -1.0', '"total_velocity", "state", 1.0'),
            "action_terms_of_state": ('"total_velocity", "action", -0.1', '"total_velocity", "state", -0.1'),
        },
    ),
    *mutants_of(
        "wav_models/embodiment.py",
        ("tests/wav_models/test_embodiment.py",),
        {
            "names_not_compared": ("if names != other_names:", "if False:"),
            "limits_not_compared": ("if channel != others:", "if False:"),
            "views_not_compared": ("if name not in other.view_names", "if False"),
            "kind_not_compared": ("if self.action_kind != other.action_kind:", "if False:"),
        },
    ),
    *mutants_of(
        "wav_models/rewards/label.py",
        ("tests/wav_models/rewards/test_label.py",),
        {
            "failures_unpunished": ("if episode.info.success is False", "if False"),
            "successes_punished": ("if episode.info.success is False", "if episode.info.success is not None"),
        },
    ),
    *mutants_of(
        "wav_models/training/loop.py",
        ("tests/wav_models/training/test_loop.py::test_the_average_follows_the_weights_at_the_decay_that_is_asked_for_or_reached_yet",),
        {
            "average_of_the_newest": ("torch._foreach_lerp_(average, weights, 1.0 - decay)", "torch._foreach_lerp_(average, weights, decay)"),
            "slowest_decay": ("decay = min(self.config.ema_decay,", "decay = max(self.config.ema_decay,"),
        },
    ),
    *mutants_of(
        "wav_models/training/loop.py",
        ("tests/wav_models/training/test_loop.py::test_a_step_follows_the_mean_of_its_parts_clipped_at_the_rate_of_each_weight",),
        {
            "sum_of_the_parts": ("(losses[\"loss\"] / config.accumulation).backward()", "losses[\"loss\"].backward()"),
            "not_clipped": ("clip_grad_norm_(parameters, config.clip_norm)", "clip_grad_norm_(parameters, 1e9)"),
            "one_rate_for_all": ("group[\"lr\"] = rate * group[\"lr_scale\"]", "group[\"lr\"] = rate"),
        },
    ),
    *mutants_of(
        "wav_models/training/loop.py",
        ("tests/wav_models/training/test_loop.py::test_every_part_of_every_step_draws_by_its_place_and_the_seed",),
        {
            "seed_ignored": ("streams_at(self.seed, self.stage.name, step,", "streams_at(0, self.stage.name, step,"),
            "every_step_draws_alike": ("streams_at(self.seed, self.stage.name, step,", "streams_at(self.seed, self.stage.name, 0,"),
            "every_part_draws_alike": ("self.worker.rank + part * self.worker.size)", "self.worker.rank)"),
        },
    ),
    *mutants_of(
        "wav_models/training/loop.py",
        ("tests/wav_models/training/test_loop.py::test_the_best_averages_and_those_of_the_last_evaluations_are_kept",),
        {
            "worst_kept": ("error < progress.best)", "error > progress.best)"),
            "more_is_worse": ("error = -error if error is not None and judge.startswith(\"-\") else error", "pass"),
            "oldest_kept": ("kept[: max(0, len(kept) - self.config.keep)]", "kept[self.config.keep :]"),
            "newest_weights_judged": ("with averaged_weights(self.state), torch.no_grad():", "with torch.no_grad():"),
        },
    ),
    *mutants_of(
        "wav_models/training/data/batches.py",
        _DATA,
        {
            "last_value_unknown": ("(later <= left)", "(later < left)"),
            "fitted_on_states_of_now": ("steps[:, None] + chunk + 1, first, last)", "steps[:, None] + chunk, first, last)"),
        },
    ),
    *mutants_of(
        "wav_models/training/stages.py",
        _STAGES,
        {
            "actions_see_hidden_memory": ("model.action.context(seen, value_features)", "model.action.context(output.features, value_features)"),
            "return_is_first_channel": ("_squared_error(velocity[..., -1:], target[..., -1:]", "_squared_error(velocity[..., :1], target[..., :1]"),
        },
    ),
    *mutants_of(
        "wav_models/training/distil_stage.py",
        _DISTIL,
        {
            "shared_error_counts_as_difference": ("done - done.mean(dim=1, keepdim=True)", "done - wanted.mean(dim=1, keepdim=True)"),
            "no_differences_weigh_all": ("torch.maximum(own_wanted.square().mean(), _LEAST_DIFFERENCE * variance)", "own_wanted.square().mean()"),
            "difference_weight_ignored": ("weight = config.difference_weight", "weight = 1.0"),
            "returns_left_out": ("futures.values[..., -1].reshape", "futures.values[..., 0].reshape"),
            "teacher_is_the_student": ("deepcopy(model) if teacher is None", "model if teacher is None"),
            "recorded_futures_forgotten": ("loss + config.recorded_weight * recorded", "loss + 0.0 * recorded"),
            "mean_forgotten": ('loss + config.future_weight * losses["mean"]', 'loss + 0.0 * losses["mean"]'),
            "teacher_imagines_as_the_student": ("Imaginer(self._teacher, config.teacher, *seen)\n            wanted", "Imaginer(self._teacher, config.student, *seen)\n            wanted"),
        },
    ),
    *mutants_of(
        "wav_models/training/imagining.py",
        _DISTIL,
        {
            "first_step_not_shared": ("(1.0 - times[0]) * noise + times[0] * self.mean", "noise"),
            "future_ends_at_its_last_pass": ("x_t + (1.0 - times[-1]) * output.velocity.float()", "x_t"),
            "value_features_of_the_last_sample": ("tuple(x[:, 0] for x in last)", "tuple(x[:, -1] for x in last)"),
            "given_actions_are_noise": ("torch.where(given[..., None], self._prefix.tokens[:, None], noise)", "noise"),
            "state_left_out": ("self._time(flow_time)[None], self._state, context", "self._time(flow_time)[None], None, context"),
        },
    ),
    *mutants_of(
        "wav_models/training/agreement.py",
        (*_DISTIL, "tests/wav_models/experiments/test_taught.py"),
        {
            "captured_of_the_average": ("above[moments, chosen].sum()", "reference.scores[moments, chosen].sum()"),
            "shared_part_explained": ("x - x.mean(axis=1, keepdims=True) for x in (one, reference)", "x for x in (one, reference)"),
            "best_is_worst": ("chosen = one.scores.argmax(axis=1)", "chosen = one.scores.argmin(axis=1)"),
        },
    ),
    *mutants_of(
        "wav_models/training/assembly.py",
        ("tests/wav_models/training/test_building_on.py::test_a_student_of_a_checkpoint_plans_with_its_own_steps",),
        {"student_plans_as_before": ("replace(student.applied(own), ", "replace(own, ")},
    ),
    *mutants_of(
        "wav_models/training/metrics.py",
        ("tests/wav_models/training/test_metrics.py",),
        {
            "return_is_first_channel": ("last = values[..., -1]\n", "last = values[..., 0]\n"),
            "explained_is_unexplained": ("float(1.0 - residual /", "float(residual /"),
            "errors_cancel": ("embodiment.arm_columns].abs()", "embodiment.arm_columns]"),
        },
    ),
    *mutants_of(
        "wav_models/rewards/terms.py",
        _REWARDS,
        {
            "faint_images_differ": ("(0.03 * 255) ** 2", "0.03**2"),
            "borders_count": ("interior = slice(SSIM_RADIUS, -SSIM_RADIUS)", "interior = slice(0, None)"),
            "wider_window": ("SSIM_SIGMA: Final = 1.5", "SSIM_SIGMA: Final = 2.5"),
        },
    ),
    *mutants_of(
        "wav_models/data/normalization.py",
        ("tests/wav_models/data/test_normalization.py",),
        {
            "noise_of_joints_is_large": ("{\"rad\": 5e-3", "{\"rad\": 5e-5"),
            "values_are_small": ("VALUE_STD_FLOOR: Final = 1e-2", "VALUE_STD_FLOOR: Final = 1e-1"),
        },
    ),
    *mutants_of(
        "wav_policy/recording/episode_recorder.py",
        ("tests/wav_policy/recording/test_episode_writer.py",),
        {"rows_are_the_callers": ("row = np.array(values, dtype=dtype)", "row = np.asarray(values, dtype=dtype)")},
    ),
    *mutants_of(
        "wav_policy/recording/episode_writer.py",
        ("tests/wav_policy/recording/test_episode_writer.py",),
        {"instruction_of_the_first": ("task = self.tasks.index(episode.instruction)", "task = 0")},
    ),
    *mutants_of(
        "wav_policy/recording/live_recorder.py",
        ("tests/wav_policy/recording/test_live_recorder.py::test_an_episode_has_its_mark_and_the_instruction_that_it_began_with",),
        {
            "mark_lost": ("return self._keep(recording, success, cut)", "return self._keep(recording, None, cut)"),
            "change_of_instruction_untold": ("if self._instruction != self.instruction:", "if False:"),
        },
    ),
]  # fmt: skip
