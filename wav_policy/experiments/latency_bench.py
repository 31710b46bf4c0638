"""Camera to action: what lies between three images on the wire and a chunk on the wire, timed stage by stage.

Messages are decoded and serialised as the nodes do it; its transport, and waiting for the next image, are
not part of this.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from wav_models.data.images import resize_image
from wav_models.planner.timing import Stopwatch
from wav_models.types import Observation, Plan
from wav_policy.nodes.imagination import SHARE
from wav_policy.nodes.messages.images import message_from_rgb, rgb_from_message
from wav_policy.nodes.messages.limits import decode
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.policy.rate_limit import RateLimiter
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS
from wav_policy.robot.joints import JOINT_DIM

STAGES: Final = ("decode", "preprocess", "text", "images", "memory", "video", "value", "action", "planner", "publish")
"""In the order in which they run; "planner" is what a plan takes besides its networks."""
INSTRUCTION: Final = "put the bowl on the plate"
PERCENTILES: Final = (50, 90, 99)
_OTHERS: Final = 3
"""Elites imagined beside the chosen future, as by default."""


@dataclass(frozen=True)
class LatencyReport:
    """Times of every plan [s].

    Attributes:
        stages: per stage of `STAGES`; video and value are sums over all rounds.
        rounds: per plan, of every round.
        total: from the images' bytes to the chunk's; in order, so that the first can be compared with the tenth.
    """

    stages: dict[str, list[float]]
    rounds: list[list[float]]
    total: list[float]

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Milliseconds per stage, of a round and in total."""
        times = {**self.stages, "round": [t for its in self.rounds for t in its], "total": self.total}
        return {
            name: {f"p{p}": 1e3 * float(np.percentile(values, p)) for p in PERCENTILES}
            for name, values in times.items()
            if values
        }


def measure_latency(
    policy: WAVPolicy,
    num_plans: int,
    *,
    seed: int = 0,
    new_instruction: bool = False,
    imagine_rate: float = 0.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyReport:
    """Plan `num_plans` times on images never seen before, warmed up as the node is before it is activated.

    Args:
        policy: with the engine in question.
        num_plans: plans that count.
        seed: of images and plans.
        new_instruction: give another instruction for every plan; else it is looked up after the first.
        imagine_rate: what is planned is imagined beside, as in the node while somebody watches; 0: not [Hz].
        on_progress: is told how many plans of how many are made, between two of them.
    """
    policy.warm_up(INSTRUCTION)
    newest: list[Plan] = []
    with _imagining(policy, newest, imagine_rate):
        return _measure(policy, num_plans, newest, seed, new_instruction, on_progress)


@contextmanager
def _imagining(policy: WAVPolicy, newest: list[Plan], rate: float) -> Iterator[None]:
    """Imagine the last of `newest` in a thread of its own."""
    if rate <= 0.0:
        yield
        return
    ended, limiter = threading.Event(), RateLimiter(rate, SHARE)

    def run() -> None:
        while not ended.wait(0.01):
            if newest and limiter.is_due:
                plan = newest[-1]
                with limiter.turn():
                    policy.alternatives(plan, _OTHERS)
                    policy.imagine(plan)

    thread = threading.Thread(target=run, name="imagination")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _measure(
    policy: WAVPolicy,
    num_plans: int,
    newest: list[Plan],
    seed: int,
    new_instruction: bool,
    on_progress: Callable[[int, int], None],
) -> LatencyReport:
    rng = np.random.default_rng(seed)
    stages: dict[str, list[float]] = {name: [] for name in STAGES}
    rounds, totals = [], []
    for i in range(num_plans):
        on_progress(i, num_plans)
        instruction = f"put bowl {i} on the plate" if new_instruction else INSTRUCTION
        wire = [_camera_message(rng, IMAGE_SIZES[view]) for view in VIEWS]
        stopwatch = Stopwatch()
        began = time.perf_counter()
        with stopwatch.stage("decode"):
            pictures = [rgb_from_message(decode(Image, data)) for data in wire]
        with stopwatch.stage("preprocess"):
            images = _memory(policy, pictures)
        plan_began = time.perf_counter()
        plan = policy.plan(Observation(images, np.zeros(JOINT_DIM), instruction), seed=seed + i)
        plan_seconds = time.perf_counter() - plan_began
        newest[:] = [plan]
        with stopwatch.stage("publish"):
            serialize_message(chunk_to_message(plan.chunk))
        totals.append(time.perf_counter() - began)
        rounds.append([r.seconds for r in plan.rounds])
        networks = {name: seconds for name, seconds in plan.seconds.items() if name in STAGES}
        spent = {**stopwatch.seconds, **networks, "planner": plan_seconds - sum(networks.values())}
        for name in STAGES:
            stages[name].append(spent.get(name, 0.0))
    return LatencyReport(stages, rounds, totals)


def _camera_message(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    data: bytes = serialize_message(message_from_rgb(picture, Time()))
    return data


def _memory(policy: WAVPolicy, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Resized pictures [V, F_mem, H, W, 3]: the newest frame is new, older ones were encoded when they were."""
    size = policy.config.latent.image_size
    images = np.zeros((policy.config.num_views, policy.config.num_memory_frames, *size, 3), np.uint8)
    for view, picture in enumerate(pictures):
        resize_image(picture, size, out=images[view, -1])
    return images
