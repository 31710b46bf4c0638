"""`wav replay DIR`: a recorded episode on the monitor's page, with the policy's imagination beside it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wav_policy.bringup import paths
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT


@dataclass(frozen=True)
class ReplayArguments:
    """Look at a recorded episode: LeRobot dataset, rosbag2 directory, or .mcap or .db3 file."""

    recording: Annotated[Path, tyro.conf.Positional]
    """Directory or file."""
    episode: int = 0
    """Of a dataset."""
    topics: Path | None = None
    """YAML file with the topics of a bag of another stack (config/bag_map.yaml)."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Checkpoint directory of the policy that imagines."""
    engine: str = "torch"
    """auto, torch, onnxruntime or tensorrt."""
    seed: int = 0
    """Of the plans."""
    host: str = "127.0.0.1"
    """Address the page is served on; beyond this host it asks for a token."""
    port: int = 8080
    """Port of the page."""
    rate: float = 10.0
    """Updates of the page [Hz]."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.rate <= 30.0:
            raise ValueError(f"--rate {self.rate}: 0.1..30 Hz fits")


def main(argv: list[str]) -> int:
    """Exit code 0 after Ctrl-C, 2 when recording, checkpoint or address do not fit."""
    try:
        arguments = tyro.cli(ReplayArguments, args=argv, prog="wav replay")
        return _run(arguments)
    except KeyboardInterrupt:
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        print(f"wav replay: {error}", file=sys.stderr)
        return 2


def _run(arguments: ReplayArguments) -> int:
    from wav_models.configuration import load
    from wav_policy.monitor.open_recording import open_recording
    from wav_policy.monitor.replay import Replay
    from wav_policy.monitor.replay_page import ReplayPage
    from wav_policy.monitor.server import Address, PageServer
    from wav_policy.nodes.messages.images import rgb_from_any
    from wav_policy.policy.wav_policy import WAVPolicy
    from wav_policy.recording.bag_topics import BagTopics

    if not arguments.recording.exists():
        raise ValueError(f"{arguments.recording} does not exist")
    policy = WAVPolicy.load(paths.resolve(arguments.checkpoint), engine=arguments.engine)
    config = policy.config
    topics = None if arguments.topics is None else load(BagTopics, arguments.topics)
    recording = open_recording(
        arguments.recording,
        arguments.episode,
        config.latent.image_size,
        config.horizon.step_hz,
        rgb_from_any,
        topics,
    )
    replay = Replay(recording, policy, arguments.seed)
    try:
        page = ReplayPage(recording, replay)
        server = PageServer(Address.choose(arguments.host, arguments.port), page.page)
        what = f"{recording.title}: {len(recording)} frames, {recording.instruction!r}"
        print(f"{what}\nthe page is at {server.url}", flush=True)
        try:
            while True:
                page.update()
                time.sleep(1.0 / arguments.rate)
        finally:
            server.close()
    finally:
        replay.close()
