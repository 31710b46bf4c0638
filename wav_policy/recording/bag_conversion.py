"""A rosbag2 recording of any stack as an episode of a LeRobot dataset."""

from __future__ import annotations

from pathlib import Path

from wav_models.data.images import resize_image
from wav_policy.recording.bag import Bag, BagError, Decode
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.recording.episode_writer import DatasetWriter


def convert(path: Path, root: Path, topics: BagTopics, fps: int, instruction: str, decode: Decode) -> int:
    """Append one episode; nothing is left of it where that fails.

    Args:
        path: rosbag2 directory, or .mcap or .db3 file.
        root: dataset, new or existing.
        topics: what lies where.
        fps: of the dataset [Hz].
        instruction: where the recording has none.
        decode: makes pictures of messages.

    Returns:
        Number of frames.

    Raises:
        BagError: the recording does not fit, has a gap, or no instruction.
        DatasetError: the directory holds another kind of dataset.
    """
    bag = Bag(path, topics, float(fps), decode)
    pause, topic = bag.gap
    if pause > topics.max_gap:
        raise BagError(
            f"{path}: {topic} paused for {pause:.2f} s (max_gap {topics.max_gap:g} s); cut the recording there"
        )
    text = instruction or bag.instruction
    if not text.strip():
        raise BagError(f"{path}: no instruction recorded; give one: --instruction TEXT")
    with DatasetWriter(root, fps=fps) as writer:
        writer.start_episode(text, {"source": path.name})
        for row, pictures in bag.pictures():
            images = {view: resize_image(image, writer.image_sizes[view]) for view, image in pictures.items()}
            writer.add_frame(images, bag.states[row], bag.actions[row], float(bag.times[row]))
        writer.end_episode()
    return len(bag)
