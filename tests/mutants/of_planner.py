"""Faults in planner, noise, scores and their engine: what is imagined, judged and acted on."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import mutants_of

_ACTED_ON: Final = (
    "tests/wav_models/planner/test_latent_planner.py::test_what_is_acted_on_comes_from_the_refitted_noise"
)
_PLAN: Final = (_ACTED_ON, "tests/wav_models/planner/test_latent_planner.py")
_SCORES: Final = ("tests/wav_models/planner/test_scoring.py", *_PLAN)
_NOISE: Final = ("tests/wav_models/planner/test_noise.py", *_PLAN)

MUTANTS: Final = [
    *mutants_of(
        "wav_models/planner/latent_planner.py",
        (_ACTED_ON,),
        {
            "line_13_initial_noise": ("selection.choose(model, state,", "selection.choose(model, start or SearchState.initial(model),"),
            "nothing_refitted": ("state = state.refit(video_elites, value_elites, config.update_rates)", "state.refit(video_elites, value_elites, config.update_rates)"),
        },
    ),
    *mutants_of(
        "wav_models/planner/selection.py",
        _PLAN,
        {
            "video_of_initial_noise": ("state.video.sample(1, streams.video)[0]", "state.video.mean.new_empty(state.video.mean.shape).normal_(generator=streams.video)"),
            "value_of_initial_noise": ("state.value.sample(1, streams.value)[0]", "state.value.mean.new_empty(state.value.mean.shape).normal_(generator=streams.value)"),
            "mean_is_zero": ("return Candidate(model.imagine(state.video.mean[None]), state.video.mean,", "return Candidate(model.imagine(0 * state.video.mean[None]), 0 * state.video.mean,"),
            "best_is_worst": ("sign = 1.0", "sign = -1.0"),
            "best_of_last_round": ("if self.best_so_far is None or float(scores[m]) > self.best_so_far.score:", "if True:"),
            "best_with_other_value_noise": ("int(pairs[m].argmax())", "int(pairs[m].argmin())"),
        },
    ),
    *mutants_of(
        "wav_models/planner/latent_planner.py",
        _PLAN,
        {
            "pairs_transposed": ("value_noise.flatten(0, 1)[", "value_noise.transpose(0, 1).flatten(0, 1)["),
            "video_elites_first": ("video_noise[select_elites(video_scores,", "video_noise[select_elites(-video_scores,"),
            "value_elites_worst": ("[select_elites(pair_scores,", "[select_elites(-pair_scores,"),
            "action_noise_unscaled": ("config.action_noise_std * torch.randn", "torch.randn"),
            "action_noise_of_value_stream": ("action_noise_shape, generator=streams.action", "action_noise_shape, generator=streams.video"),
            "acts_with_other_value_noise": ("chosen.value_noise, action_noise)", "0 * chosen.value_noise, action_noise)"),
            "start_ignored": ("state = start or SearchState", "state = SearchState"),
            "deadline_ignored": (" and deadline.allows_round(config)", ""),
            "one_round_more": ("while len(rounds) < config.num_iterations", "while len(rounds) <= config.num_iterations"),
            "round_time_not_learned": ("deadline.round_took(rounds[-1].seconds)", "pass"),
            "damaged_scores_accepted": ("if not finite.all():", "if False:"),
            "damaged_action_accepted": ("if not (decision.actions.isfinite().all()", "if False and not (decision.actions.isfinite().all()"),
        },
    ),
    *mutants_of(
        "wav_models/planner/scoring.py",
        _SCORES,
        {
            "elites_lowest": ("flat.sort(descending=True", "flat.sort(descending=False"),
            "phi_is_mean": ("return pair_scores.amax(dim=1)", "return pair_scores.mean(dim=1)"),
            "snr_sign": ("return values.mean(dim=-1) / (values.std", "return -values.mean(dim=-1) / (values.std"),
            "snr_sample_std": ("(values.std(dim=-1, correction=0)", "(values.std(dim=-1, correction=1)"),
            "snr_over_samples": ("values.mean(dim=-1) / (values.std(dim=-1", "values.mean(dim=-1) / (values.std(dim=-2, keepdim=True).expand_as(values).mean(dim=-1) + 0 * values.std(dim=-1"),
            "gain_not_centred": ("- (num_steps + 1) / 2", "- num_steps / 2"),
        },
    ),
    *mutants_of(
        "wav_models/planner/config.py",
        _NOISE,
        {"rates_exchanged": ("self.mean_update_rate, self.std_update_rate", "self.std_update_rate, self.mean_update_rate")},
    ),
    *mutants_of(
        "wav_models/planner/noise.py",
        _NOISE,
        {
            "video_not_refitted": ("NoiseDistribution.refit(video_elites).smooth(self.video, *rates)", "self.video"),
            "value_not_refitted": ("NoiseDistribution.refit(value_elites).smooth(self.value, *rates)", "self.value"),
            "mean_rates_swapped": ("mean_rate * self.mean + (1.0 - mean_rate)", "(1.0 - mean_rate) * self.mean + mean_rate"),
            "std_rates_swapped": ("std_rate * self.std + (1.0 - std_rate)", "(1.0 - std_rate) * self.std + std_rate"),
            "no_floor": ("NoiseDistribution(mean, std.clamp(min=min_std))", "NoiseDistribution(mean, std)"),
            "refit_variance": (".square().mean(dim=0).sqrt())", ".square().mean(dim=0))"),
            "sample_without_mean": ("return self.mean + self.std * normals", "return self.std * normals"),
            "sample_unit_std": ("return self.mean + self.std * normals", "return self.mean + normals"),
            "one_stream_for_all": (".spawn(3)", ".spawn(1) * 3"),
            "shift_backwards": ("padded.narrow(axis, whole + 1, length)", "padded.narrow(axis, whole, length)"),
            "shift_weights_swapped": ("(1.0 - fraction) * padded", "fraction * padded"),
            "shift_fills_std_with_zero": ("_shift(self.std, by, axis, 1.0)", "_shift(self.std, by, axis, 0.0)"),
            "shift_no_floor": ("axis, 1.0).clamp(min=min_std)", "axis, 1.0)"),
        },
    ),
    *mutants_of(
        "wav_models/planner/normals.py",
        ("tests/wav_models/planner/test_normals.py", *_PLAN),
        {
            "sharing_ignored": ("judged = 1 if config.shared_value_noise else futures", "judged = futures"),
            "always_shared": ("judged = 1 if config.shared_value_noise else futures", "judged = 1"),
            "drawn_ahead_for_nothing": ("stream.set_state(state)", "pass"),
            "drawn_ahead_is_lost": ("drawn, self._ahead = self._ahead or self._draw(), None", "drawn, self._ahead = self._draw(), None"),
        },
    ),
    *mutants_of(
        "wav_models/planner/timing.py",
        ("tests/wav_models/planner/test_timing.py", "tests/wav_models/planner/test_latent_planner.py"),
        {
            "action_time_forgotten": ("unit * fmean(self.slowness) + fmean(actions)", "unit * fmean(self.slowness)"),
            "never_forgets": ("tuple(FORGETTING * each for each in self.slowness)", "self.slowness"),
            "deviations_ignored": ("math.hypot(math.sqrt(num_rounds) * unit * float(np.std(self.slowness)), float(np.std(actions)))", "0.0"),
            "all_rounds_are_slow_at_once": ("math.sqrt(num_rounds) * unit", "num_rounds * unit"),
            "last_plan_only": ("(*self.slowness, *(seconds / unit for seconds in rounds))[", "(*(seconds / unit for seconds in rounds),)["),
            "remembers_for_ever": ("for seconds in rounds))[-_NUM_ROUNDS:]", "for seconds in rounds))"),
            "slow_round_not_minded": ("self._leaves(self._last_round + self._pace", "self._leaves(self._pace"),
            "sheds_futures_first": ('("num_value_samples", "num_video_samples")', '("num_video_samples", "num_value_samples")'),
            "sheds_nothing": ("if self._fits(each, each.num_iterations)), candidates[-1])", "if True), candidates[-1])"),
            "one_round_must_fit": ("self._fits(each, each.num_iterations)", "self._fits(each, 1)"),
            "elites_stay": ("-(-getattr(last, elites) * (asked // 2) // asked)", "min(getattr(last, elites), 2)"),
            "sizes_slow_alone": ("num_rounds * unit * fmean(self.slowness)", "num_rounds * unit"),
        },
    ),
    *mutants_of(
        "wav_models/engines/torch_engine.py",
        ("tests/wav_models/engines/test_torch_engine.py",),
        {
            "features_of_wrong_time": ("features = output.features", "features = features or output.features"),
            "shared_step_to_the_noise": ("(1.0 - times[0]) * x_t + times[0] * scene.mean", "times[0] * x_t + (1.0 - times[0]) * scene.mean"),
            "value_features_of_no_pass": ("features = output.features", "features = tuple(0 * f for f in output.features)"),
            "futures_joined_wrongly": ("zip(*(part.features.future for part in parts)", "zip(*(part.features.future for part in parts[::-1])"),
        },
    ),
    *mutants_of(
        "wav_models/engines/runtimes/tensorrt.py",
        ("tests/wav_models/engines/runtimes/test_recorded_tensorrt.py",),
        {
            "memory_of_the_smallest": ("size = max((int(engine", "size = min((int(engine"),
            "engines_run_at_once": ("with self._memory.lock, self._on_stream():", "with self._on_stream():"),
            "lent_values_not_checked": ("if isinstance(context, LentValues) and not", "if False and not"),
            "kernels_not_used": ("configuration.set_runtime_cache(self._cache)", "pass"),
            "kernels_not_read": ("cache.deserialize(self._found)", "bool(self._found)"),
            "kernels_not_written": ("!= self._found:", "!= self._found and not made:"),
            "memory_of_its_own": ("configuration.set_execution_context_allocation_strategy(self._strategy)", "pass"),
        },
    ),
    *mutants_of(
        "wav_models/guidance.py",
        ("tests/wav_models/test_guidance.py",),
        {
            "unit_sign": ("weight * (target - end)", "weight * (end - target)"),
            "network_sign": ("(target.clone() - end.detach())", "(end.detach() - target.clone())"),
            "weight_ignored": ("unit_gain(flow_time) * weight *", "unit_gain(flow_time) *"),
            "gain_unbounded": ("min(MAX_GUIDANCE, (t**2", "max(MAX_GUIDANCE, (t**2"),
            "end_point_of_now": ("end = x_t + (1.0 - flow_time) * uncorrected", "end = x_t + flow_time * uncorrected"),
        },
    ),
    *mutants_of(
        "wav_models/planner/latent_planner.py",
        ("tests/wav_models/planner/test_latent_planner.py",),
        {
            "epsilon_of_the_score_ignored": ("make_score(config.score, config.snr_eps)", "make_score(config.score)"),
            "action_not_looked_at": ("decision.actions.isfinite().all() and decision.values", "decision.values"),
            "elites_of_the_first_round": ("video_elites = video_noise[", "video_elites = video_elites if len(video_elites) else video_noise["),
            "scores_told_for_values": ("mean_value=judged.mean_values.numpy()", "mean_value=judged.video_scores.numpy()"),
        },
    ),
    *mutants_of(
        "wav_models/planner/config.py",
        ("tests/wav_models/planner/test_planner_config.py",),
        {
            "another_default": ("warm_start_min_std: float = 0.5", "warm_start_min_std: float = 0.0"),
            "a_step_less": ("num_action_steps: int = 5", "num_action_steps: int = 4"),
            "elites_of_one_future": ("min(self.num_value_elites, video * value)", "min(self.num_value_elites, value)"),
        },
    ),
    *mutants_of(
        "wav_models/guidance.py",
        ("tests/wav_models/test_guidance.py",),
        {
            "negative_weight_accepted": ("(self.weight >= 0.0) & (self.weight <= 1.0)", "(self.weight <= 1.0)"),
            "half_known_is_given": ("known = guidance.weight == 1.0", "known = guidance.weight > 0.0"),
            "one_row_more_given": ("known[num_rows:] = False", "known[num_rows + 1 :] = False"),
            "given_where_all_is_known": ("known.any(dim=-1)", "known.all(dim=-1)"),
        },
    ),
    *mutants_of(
        "wav_policy/policy/wav_policy.py",
        ("tests/wav_policy/policy/test_wav_policy.py",),
        {
            "frames_moved_as_steps": ("shifted(steps / _frame_spacing(horizon), axis=1", "shifted(steps, axis=1"),
            "frames_for_views": ("shifted(steps / _frame_spacing(horizon), axis=1", "shifted(steps / _frame_spacing(horizon), axis=0"),
            "spacing_of_gaps": ("/ len(horizon.future_offsets)", "/ (len(horizon.future_offsets) + 1)"),
            "narrow_warm_start": ("floor = self.planner.warm_start_min_std", "floor = self.planner.min_std"),
            "start_from_the_future": ("if not 0 <= steps < horizon.action_horizon:", "if not steps < horizon.action_horizon:"),
            "states_guided": ("weight[:, : self.config.embodiment.action_dim]", "weight[:, :]"),
            "futures_of_the_first_round": ("plan.chosen or (len(future.sampled) - 1, None)", "plan.chosen or (0, None)"),
        },
    ),
]  # fmt: skip
