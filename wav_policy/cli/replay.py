"""`wav replay`: a recorded episode on the monitor's page, with the policy's imagination beside it."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from wav_models.command_line import Port, parsed
from wav_models.configuration import Count, Range
from wav_models.progress import progress
from wav_models.words import counted
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.options import check_film, checkpoint_to_load, refuse_idle

if TYPE_CHECKING:
    from wav_policy.monitor.recording import Recording


@dataclass(frozen=True)
class ReplayArguments:
    """Look at a recorded episode: LeRobot dataset, rosbag2 directory, or .mcap or .db3 file."""

    recording: Annotated[Path, tyro.conf.Positional]
    """Directory or file."""
    episode: Count = 0
    """Which episode of a dataset, or of a bag in which a clock was set."""
    topics: Path | None = None
    """YAML file with the topics of a bag of another stack (config/bag_map.yaml)."""
    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory of the policy that imagines."""
    engine: str = "auto"
    """What runs the networks: auto, torch, onnxruntime or tensorrt."""
    seed: Count = 0
    """Seed of the plans."""
    host: str = "127.0.0.1"
    """Address the page is served on; beyond this host it asks for a token."""
    port: Port = 8080
    """Port of the page."""
    rate: Annotated[float, Range(0.1, 30.0)] = 10.0
    """Updates of the page [Hz]."""
    video: Path | None = None
    """A film in place of the page, .mp4, .gif, .rrd for Rerun or .mcap for Foxglove: written once everything is
    imagined."""


def main(argv: list[str]) -> None:
    """Entry point of `wav replay`."""
    arguments = parsed(ReplayArguments, "wav replay", argv)
    check_film(arguments.video)
    if not arguments.recording.exists():
        raise FileNotFoundError(f"{arguments.recording} does not exist")
    from wav_models.data.layout import INFO_PATH
    from wav_policy.monitor.open_recording import check_recording, open_recording
    from wav_policy.monitor.server import Address, PageServer

    check_recording(arguments.recording, arguments.episode)
    if (arguments.recording / INFO_PATH).exists():
        refuse_idle(arguments, ["topics"], f"{arguments.recording}, a dataset,")
    if arguments.video is not None:
        refuse_idle(arguments, ("host", "port", "rate"), "--video")
    address = Address.choose(arguments.host, arguments.port)
    if arguments.video is None:
        address.require_free()
    checkpoint = checkpoint_to_load(arguments.checkpoint, arguments.engine)
    from wav_models.checkpoint import load_model_config
    from wav_models.configuration import load
    from wav_models.project_files import resolve
    from wav_policy.monitor.replay import Replay
    from wav_policy.monitor.replay_film import film_replay
    from wav_policy.monitor.replay_page import ReplayPage
    from wav_policy.nodes.messages.images import rgb_from_any
    from wav_policy.policy.wav_policy import WAVPolicy
    from wav_policy.recording.bag_topics import BagTopics

    topics = None if arguments.topics is None else load(BagTopics, resolve(arguments.topics))
    config = load_model_config(checkpoint)
    image_size, step_hz = config.latent.image_size, config.horizon.step_hz

    def open_episode(number: int) -> Recording:
        return open_recording(arguments.recording, number, image_size, step_hz, rgb_from_any, topics)

    with progress("reading the recording"):
        recording = open_episode(arguments.episode)
    print(*recording.remarks, sep="\n", end="\n" * bool(recording.remarks), flush=True)
    with progress("loading the policy"):
        policy = WAVPolicy.load(checkpoint, engine=arguments.engine)
    replay = Replay(recording, policy, arguments.seed)
    if arguments.video is not None:
        with closing(replay):
            film_replay(replay, recording, arguments.video, lambda text: print(text, flush=True))
        return
    with closing(ReplayPage(replay, open_episode)) as page, closing(PageServer(address, page.page)) as server:
        print(f"{recording.title}: {counted(len(recording), 'frame')}, {recording.instruction!r}")
        print(f"the page is at {server.url}", flush=True)
        while True:
            page.update()
            time.sleep(1.0 / arguments.rate)
