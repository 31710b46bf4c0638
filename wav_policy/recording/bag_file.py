"""Messages of rosbag2 recordings (sqlite3 or MCAP) through the pure Python library rosbags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_DATA: Final = (".mcap", ".db3")
_MAX_SHOWN: Final = 300
"""Characters of a library's words."""


class BagError(ValueError):
    """A recording that cannot be read; the message names what is missing or wrong."""


def is_recording(path: Path) -> bool:
    """Whether it is a file or directory of rosbag2, be its metadata.yaml lost."""
    paths = [path, *path.glob("*")]
    return any(each.suffix in _DATA for each in paths) or (path / "metadata.yaml").is_file()


def topics_of(path: Path) -> set[str]:
    """Those of which there are messages."""
    with _opened(path) as reader:
        return {connection.topic for connection in reader.connections if connection.msgcount}


def messages(path: Path, wanted: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, Any, float]]:
    """Topic, message and time of recording [s], in the order of recording, of the topics that are wanted.

    Args:
        path: rosbag2 directory, or .mcap or .db3 file.
        wanted: which types of messages fit, by topic; none: all do.

    Raises:
        BagError: rosbags is missing, the file is damaged, or a topic holds what does not fit.
    """
    with _opened(path) as reader:
        connections = [connection for connection in reader.connections if connection.topic in wanted]
        for connection in connections:
            if (fitting := wanted[connection.topic]) and connection.msgtype not in fitting:
                raise BagError(f"{path}: {connection.topic} holds {connection.msgtype}; {' or '.join(fitting)} fits")
        for connection, nanoseconds, data in reader.messages(connections) if connections else ():
            yield connection.topic, reader.deserialize(data, connection.msgtype), 1e-9 * nanoseconds


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    highlevel, typesys = _library()
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    try:
        with highlevel.AnyReader(_files(path), default_typestore=store) as reader:
            yield reader
    except BagError:
        raise
    except Exception as error:  # of a damaged file: those of sqlite3, struct, zstandard, YAML, and of rosbags itself
        why = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_SHOWN]
        raise BagError(
            f"{path} cannot be read ({why}). Of a recording that was cut off `mcap recover FILE` saves what there is"
        ) from error


def _files(path: Path) -> list[Path]:
    """What to open: of a directory that lost its metadata.yaml the files themselves."""
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [path]
    files = [file for file in path.iterdir() if file.suffix in _DATA]
    if not files:
        raise BagError(f"{path} holds neither metadata.yaml nor any {' or '.join(_DATA)} file")
    return files


def _library() -> tuple[ModuleType, ModuleType]:
    try:
        from rosbags import highlevel, typesys
    except ImportError as error:
        raise BagError("reading bags needs the extra `bags`: pip install -e '.[bags]'") from error
    return highlevel, typesys
