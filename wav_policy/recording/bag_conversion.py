"""A rosbag2 recording of any stack as episodes of a LeRobot dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wav_models.data.images import resize_image
from wav_policy.recording.bag import Bag
from wav_policy.recording.bag_file import BagError
from wav_policy.recording.bag_pictures import Decode
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.recording.episode_writer import DatasetWriter


def convert(
    path: Path,
    root: Path,
    topics: BagTopics,
    fps: int,
    instruction: str,
    decode: Decode,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[int], list[str]]:
    """Append an episode, or several where a clock became another one in between; nothing of one that fails.

    Args:
        path: rosbag2 directory, or .mcap or .db3 file.
        root: dataset, new or existing.
        topics: what lies where.
        fps: of the dataset [Hz].
        instruction: where the recording has none.
        decode: makes pictures of messages.
        on_progress: is told how many frames of how many are there.

    Returns:
        Number of frames of every episode; and what is to be said of the recording.

    Raises:
        BagError: the recording does not fit, has a gap, or no instruction.
        DatasetError: the directory holds another kind of dataset.
    """
    bag = Bag(path, topics, float(fps), decode)
    pause, topic = max(segment.gap for segment in bag.segments)
    if pause > topics.max_gap:
        raise BagError(
            f"{path}: {topic} paused for {pause:.2f} s (max_gap {topics.max_gap:g} s); cut the recording there"
        )
    text = instruction or bag.instruction
    if not text.strip():
        raise BagError(f"{path}: no instruction recorded; give one: --instruction TEXT")
    lengths: list[int] = []
    total = sum(map(len, bag.segments))
    with DatasetWriter(root, fps=fps) as writer:
        for segment in bag.segments:
            writer.start_episode(text, {"source": path.name})
            length = 0
            for row, pictures in bag.pictures(segment):
                images = {view: resize_image(image, writer.image_sizes[view]) for view, image in pictures.items()}
                writer.add_frame(images, segment.states[row], segment.actions[row], float(segment.times[row]))
                length += 1
                on_progress(sum(lengths) + length, total)
            writer.end_episode()
            lengths.append(length)
    return lengths, bag.remarks()
