"""Which topics of a rosbag2 recording hold what: one YAML file, read strictly (`config/bag_map.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from wav_models.configuration import ConfigurationError, Positive, check_choice
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES

JointNames = tuple[str, ...] | dict[str, str]
"""Our names in the order of the message; or ours by those of the message, which may have others too; (): it has ours.
Named messages may each be about a part of the joints."""


@dataclass(frozen=True)
class BagTopics:
    """Topics of somebody's stack. The defaults are this project's own.

    Raises:
        ValueError: a view or joint that there is not, one that comes twice, or one that nothing measures.
    """

    images: dict[str, str] = field(default_factory=lambda: {view: f"/{view}/image_raw" for view in VIEWS})
    """View: topic with sensor_msgs/Image or CompressedImage; TOPIC/compressed is taken where TOPIC is not recorded."""
    joints: dict[str, JointNames] = field(default_factory=lambda: {"/joint_states": ()})
    """Topic with measured positions: which of its numbers are whose."""
    actions: dict[str, JointNames] = field(default_factory=dict)
    """The same of commanded positions; none: what was measured one row later."""
    scale: dict[str, float] = field(default_factory=dict)
    """Joint: ours is scale * theirs + offset, ours in rad (gripper: m); 1 where not given."""
    offset: dict[str, float] = field(default_factory=dict)
    """Joint: see there; 0 where not given."""
    instruction: str = "/instruction"
    """Topic with std_msgs/String; empty: none."""
    max_gap: Positive = 0.3
    """A source that pauses for longer has no data of then: such a recording is no training data [s]."""

    def __post_init__(self) -> None:
        for view in self.images:
            check_choice("view", view, VIEWS)
        if missing := [view for view in VIEWS if view not in self.images]:
            raise ConfigurationError(f"images has no topic for {', '.join(missing)}")
        groups = [*self.joints.values(), *self.actions.values()]
        for name in chain(self.scale, self.offset, *map(our_names, groups)):
            check_choice("joint", name, JOINT_NAMES)
        for what, topics in (("joints", self.joints), ("actions", self.actions)):
            if not topics and what == "actions":
                continue
            named = list(chain.from_iterable(our_names(names) for names in topics.values()))
            if sorted(named) != sorted(JOINT_NAMES):
                wrong = [name for name in JOINT_NAMES if named.count(name) != 1]
                raise ConfigurationError(f"{what}: every joint comes from one topic, unlike {', '.join(wrong)}")


def our_names(names: JointNames) -> tuple[str, ...]:
    """The joints that a topic is there for."""
    return tuple(names.values()) if isinstance(names, dict) else names or JOINT_NAMES
