"""What a plan costs, counted from the shapes: floating-point operations and bytes that must move.

A multiply-add is two operations; matrix products and attention are counted, element-wise work is not (as
`torch.utils.flop_counter` does). Bytes are a floor: weights once per pass of a network, and, because they do not fit
on a chip, the video features, keys and values an attention layer projects and reads; other activations are not counted.
The auto-encoder and the text encoder are not part of a plan's rounds and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from wav_models.networks.modulation import EMBEDDING_DIM
from wav_models.presets import ExpertConfig, ModelConfig

COMPONENTS = ("text", "memory", "video", "keys_values", "value", "action")
"""Text: the video DiT's keys and values of the instruction. Memory: the prefix of causal memory, with the experts' keys
and values of it. Video: the video DiT. Keys and values: the value expert's, of the video features. Value: what
denoising the values takes besides. Action: denoising the values of the chosen future, and its action with all keys and
values."""


@dataclass(frozen=True)
class Cost:
    """Floating-point operations and bytes; sums and multiples of them."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __rmul__(self, count: int) -> Cost:
        return Cost(count * self.flops, count * self.bytes)


@dataclass(frozen=True)
class Workload:
    """One plan: K rounds of M futures with N value samples each, then the chosen future and its action."""

    num_iterations: int
    num_video_samples: int
    num_value_samples: int
    denoise_steps: int = 10
    num_video_steps: int = 1


def total(costs: dict[str, Cost]) -> Cost:
    return sum(costs.values(), Cost())


def plan_cost(config: ModelConfig, work: Workload, *, cached: bool, bytes_per_number: int = 2) -> dict[str, Cost]:
    """Cost of a plan by component.

    Args:
        config: `video.causal_memory` says whether memory attends to the future.
        work: what is planned.
        cached: True: what `TorchEngine` does. False: the published code's work: keys and values of the text once per
            future, of the video features once per value sample and step; time embedded per token; memory per future.
        bytes_per_number: of weights and activations.
    """
    count = _Counter(config, bytes_per_number)
    rounds, futures = work.num_iterations, work.num_video_samples
    pairs, steps = futures * work.num_value_samples, work.denoise_steps
    if not cached:
        imagined = rounds * count.uncached_video(futures) + count.uncached_video(1)
        texts = rounds * count.text(futures) + count.text(1)
        values = count.keys_values(config.value, 1) + count.value_step(1, 1, cached)
        actions = count.keys_values(config.action, 1) + count.value_keys_values() + count.action_step(cached)
        return {
            "text": work.num_video_steps * texts,
            "memory": Cost(),
            "video": work.num_video_steps * imagined,
            "keys_values": steps * rounds * count.keys_values(config.value, pairs),
            "value": steps * rounds * count.value_step(pairs, 1, cached),
            "action": steps * (values + actions),
        }
    causal = config.video.causal_memory
    imagined = rounds * count.video(futures) + count.video(1)
    action = count.keys_values(config.action, 1, causal) + count.value_keys_values() + steps * count.action_step(cached)
    return {
        "text": count.text(1),
        "memory": count.memory() if causal else Cost(),
        "video": work.num_video_steps * imagined,
        "keys_values": rounds * count.keys_values(config.value, futures, causal)
        + count.keys_values(config.value, 1, causal),
        "value": steps * rounds * count.value_step(futures, work.num_value_samples, cached),
        "action": action + steps * count.value_step(1, 1, cached),
    }


def stage_flops(costs: dict[str, Cost], *, cached: bool) -> dict[str, int]:
    """Operations of `plan_cost` by the stage whose time a planner benchmark measures.

    The engine projects the value expert's keys and values while it imagines, the uncached path while it evaluates; the
    text is the uncached path's only (the engine encodes an instruction before any plan).
    """
    flops = {name: cost.flops for name, cost in costs.items()}
    imagined = flops["video"] + (flops["keys_values"] if cached else flops["text"])
    evaluated = flops["value"] + (0 if cached else flops["keys_values"])
    return {"memory": flops["memory"], "video": imagined, "value": evaluated, "action": flops["action"]}


class _Counter:
    """Cost of one pass of each network; every method names what it counts."""

    def __init__(self, config: ModelConfig, bytes_per_number: int) -> None:
        self.config = config
        self.size = bytes_per_number
        self.views = config.num_views
        self.memory_tokens, self.future_tokens = prod(config.memory_shape[:3]), prod(config.future_shape[:3])
        self.all_tokens = self.memory_tokens + self.future_tokens

    def text(self, batch: int) -> Cost:
        """Caption projection, then every block's keys and values of the text."""
        video, rows = self.config.video, batch * self.config.text.max_tokens
        hidden, layers = video.hidden_size, video.num_layers
        projection = self._linear(rows, video.caption_channels, hidden) + self._linear(rows, hidden, hidden)
        return projection + layers * self._projection(rows, video.cross_attention_dim, hidden)

    def video(self, futures: int) -> Cost:
        """One pass, with the text's keys and values and, if memory is causal, the memory's given."""
        if not self.config.video.causal_memory:
            rows = 2  # memory and future
            body = self._video_body(futures, self.all_tokens, self.all_tokens)
            return body + self._video_ends(futures, self.all_tokens, rows, views=rows)
        body = self._video_body(futures, self.future_tokens, self.all_tokens)
        return body + self._video_ends(futures, self.future_tokens, rows=1, views=1)

    def uncached_video(self, futures: int) -> Cost:
        """One pass over all tokens, time embedded per token."""
        if self.config.video.causal_memory:
            body = self._video_body(futures, self.memory_tokens, self.memory_tokens)
            body = body + self._video_body(futures, self.future_tokens, self.all_tokens, weights=False)
        else:
            body = self._video_body(futures, self.all_tokens, self.all_tokens)
        return body + self._video_ends(futures, self.all_tokens, rows=futures * self.all_tokens, views=1)

    def memory(self) -> Cost:
        """The memory prefix, and both experts' keys and values of its features."""
        body = self._video_body(1, self.memory_tokens, self.memory_tokens)
        body = body + self._linear(self.memory_tokens, self.config.video.in_channels, self.config.video.hidden_size)
        body = body + self._time_rows(self.config.video.hidden_size, 1) + self._view_rows()
        return sum((self._expert_projection(e, self.memory_tokens) for e in self._experts), body)

    def keys_values(self, expert: ExpertConfig, batch: int, future_only: bool = False) -> Cost:
        """An expert's keys and values of the video features of `batch` futures, all blocks."""
        return self._expert_projection(expert, batch * (self.future_tokens if future_only else self.all_tokens))

    def value_keys_values(self) -> Cost:
        """The action expert's keys and values of one sample's value features, all blocks."""
        config = self.config
        rows, layers = config.horizon.value_horizon, config.video.num_layers
        return layers * self._projection(rows, config.value.hidden_size, config.action.hidden_size)

    def value_step(self, contexts: int, draws: int, cached: bool) -> Cost:
        """One denoising step of `draws` samples for each of `contexts` sets of keys and values."""
        expert, tokens = self.config.value, self.config.horizon.value_horizon
        body = self._expert_body(expert, contexts, draws, tokens)
        return body + self._expert_ends(expert, contexts * draws, tokens, 1 if cached else contexts * draws * tokens)

    def action_step(self, cached: bool) -> Cost:
        """One denoising step of one chunk, the state token in front."""
        expert, horizon = self.config.action, self.config.horizon
        hidden, tokens = expert.hidden_size, horizon.action_horizon + 1
        cross = 2 * self._linear(tokens, hidden, hidden) + self._attention(tokens, 1, horizon.value_horizon, hidden)
        body = self._expert_body(expert, 1, 1, tokens) + self.config.video.num_layers * cross
        ends = self._linear(tokens, expert.in_channels, hidden)
        ends = ends + self._linear(horizon.action_horizon, hidden, expert.out_channels)
        return body + ends + self._time_rows(hidden, 2 if cached else tokens)

    @property
    def _experts(self) -> tuple[ExpertConfig, ExpertConfig]:
        return self.config.value, self.config.action

    def _video_body(self, batch: int, queries: int, keys: int, weights: bool = True) -> Cost:
        """All blocks: `queries` tokens per sample attend to `keys` tokens and to the text."""
        video = self.config.video
        rows, hidden = batch * queries, video.hidden_size
        linear = 6 * self._linear(rows, hidden, hidden) + self._feed_forward(rows, hidden)
        if not weights:
            linear = Cost(linear.flops)
        text = self._attention(rows, 1, self.config.text.max_tokens, hidden)
        joint = self._attention(rows, batch, keys, hidden)
        per_view = self._attention(rows, batch * self.views, keys // self.views, hidden)
        num_joint = len(range(0, video.num_layers, video.cross_view_every))
        return video.num_layers * (linear + text) + num_joint * joint + (video.num_layers - num_joint) * per_view

    def _video_ends(self, futures: int, tokens: int, rows: int, views: int) -> Cost:
        """First and last projection, and the time embedding of `rows` times; view rows computed `views` times."""
        video = self.config.video
        first = self._linear(futures * tokens, video.in_channels, video.hidden_size)
        last = self._linear(futures * self.future_tokens, video.hidden_size, video.out_channels)
        return first + last + self._time_rows(video.hidden_size, rows) + views * self._view_rows()

    def _expert_body(self, expert: ExpertConfig, contexts: int, draws: int, tokens: int) -> Cost:
        """All blocks without attention to value features."""
        hidden, batch = expert.hidden_size, contexts * draws
        rows = batch * tokens
        linear = 6 * self._linear(rows, hidden, hidden) + self._feed_forward(rows, hidden)
        own = self._attention(rows, batch, tokens, hidden)
        cross = self._attention(rows, contexts, self.all_tokens, hidden)
        return self.config.video.num_layers * (linear + own + cross)

    def _expert_ends(self, expert: ExpertConfig, batch: int, tokens: int, rows: int) -> Cost:
        first = self._linear(batch * tokens, expert.in_channels, expert.hidden_size)
        last = self._linear(batch * tokens, expert.hidden_size, expert.out_channels)
        return first + last + self._time_rows(expert.hidden_size, rows)

    def _expert_projection(self, expert: ExpertConfig, rows: int) -> Cost:
        video = self.config.video
        return video.num_layers * self._projection(rows, video.hidden_size, expert.hidden_size)

    def _view_rows(self) -> Cost:
        hidden = self.config.video.hidden_size
        return self._linear(self.views, hidden, 6 * hidden) if self.config.video.use_view_embed else Cost()

    def _time_rows(self, hidden: int, rows: int) -> Cost:
        linear = self._linear(rows, EMBEDDING_DIM, hidden) + self._linear(rows, hidden, hidden)
        return linear + self._linear(rows, hidden, 6 * hidden)

    def _feed_forward(self, rows: int, hidden: int) -> Cost:
        return self._linear(rows, hidden, 4 * hidden) + self._linear(rows, 4 * hidden, hidden)

    def _projection(self, rows: int, features: int, hidden: int) -> Cost:
        """Keys and values of `rows` feature vectors, read once and written once."""
        moved = rows * (features + 2 * hidden) * self.size
        return 2 * self._linear(rows, features, hidden) + Cost(bytes=moved)

    def _attention(self, queries: int, contexts: int, keys: int, hidden: int) -> Cost:
        """`queries` in all, spread over `contexts` of `keys` keys and values each."""
        return Cost(4 * queries * keys * hidden, 2 * contexts * keys * hidden * self.size)

    def _linear(self, rows: int, fan_in: int, fan_out: int) -> Cost:
        return Cost(2 * rows * fan_in * fan_out, (fan_in + 1) * fan_out * self.size)
