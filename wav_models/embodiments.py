"""The robots there are presets for: two AgileX Piper arms, LIBERO's Franka Panda, and ALOHA's two ViperX arms."""

from __future__ import annotations

import math
from typing import Final

from wav_models.embodiment import Channel, Embodiment, RewardTerm, View

_PIPER_DEGREES: Final = ((-150.0, 150.0), (0.0, 180.0), (-170.0, 0.0), (-100.0, 100.0), (-70.0, 70.0), (-120.0, 120.0))
"""Limits of joints 1 to 6 in piper_sdk."""
_PIPER_STROKE: Final = 0.1
"""Of the widest gripper there is [m]."""


def _piper_arm(side: str) -> tuple[Channel, ...]:
    joints = (
        Channel(f"{side}_joint{number}", "rad", math.radians(lower), math.radians(upper))
        for number, (lower, upper) in enumerate(_PIPER_DEGREES, start=1)
    )
    return (*joints, Channel(f"{side}_gripper", "m", 0.0, _PIPER_STROKE, gripper=True))


_TABLE_2: Final = (
    ("joint_proximity", "proximity", "state", 1.0),
    ("joint_velocity", "total_velocity", "state", -1.0),
    ("joint_acceleration", "total_acceleration", "state", -1.0),
    ("action_velocity", "total_velocity", "action", -0.1),
    ("action_acceleration", "total_acceleration", "action", -0.1),
)
"""Table 2's terms of motion, with their weights relative to an image term."""
_IMAGES: Final = (("mse", "image_mse"), ("ssim", "image_ssim"))


def _bimanual_terms(top: str, wrists: dict[str, str]) -> tuple[RewardTerm, ...]:
    """Table 2 in the bimanual setting, of two arms with seven joints each, left first: 16 terms.

    Args:
        top: the view that sees both.
        wrists: view of either wrist, by side; without them there are 12 terms.
    """
    sides = {"left": (0, 7), "right": (7, 14)}
    count = len(_IMAGES) * (1 + len(wrists)) + len(_TABLE_2) * len(sides)
    return (
        *(RewardTerm(f"wrist_{n}_{s}", f, view, 1.0 / count) for n, f in _IMAGES for s, view in wrists.items()),
        *(RewardTerm(f"top_{n}", f, top, 1.0 / count) for n, f in _IMAGES),
        *(
            RewardTerm(f"{n}_{s}", f, source, factor / count, columns)
            for n, f, source, factor in _TABLE_2
            for s, columns in sides.items()
        ),
    )


def _single_arm_terms(wrist: str, top: str) -> tuple[RewardTerm, ...]:
    """The nine terms of one arm."""
    views = {"wrist": wrist, "top": top}
    return (
        *(RewardTerm(f"{place}_{n}", f, view, 1.0 / 9) for place, view in views.items() for n, f in _IMAGES),
        *(RewardTerm(n, f, source, factor / 9) for n, f, source, factor in _TABLE_2),
    )


BIMANUAL_PIPER: Final = Embodiment(
    name="bimanual_piper",
    robot_type="agilex_piper_bimanual",
    state=_piper_arm("left") + _piper_arm("right"),
    views=(
        View("head", "observation.images.top_head", (240, 424)),
        View("left_wrist", "observation.images.hand_left", (240, 320)),
        View("right_wrist", "observation.images.hand_right", (240, 320)),
    ),
    control_rate=200.0,
    reward_terms=_bimanual_terms("head", {"left": "left_wrist", "right": "right_wrist"}),
)
"""Two AgileX Piper arms, left first, with three cameras; keys of the videos as the official WAV configurations have
them."""

LIBERO_PANDA: Final = Embodiment(
    name="libero_panda",
    robot_type="panda",
    state=(
        *(Channel(f"eef_{axis}", "m", -2.0, 2.0) for axis in "xyz"),
        *(Channel(f"eef_rotation_{axis}", "rad", -2 * math.pi, 2 * math.pi) for axis in "xyz"),
        Channel("gripper_left", "m", 0.0, 0.04, gripper=True),
        Channel("gripper_right", "m", -0.04, 0.0, gripper=True),
    ),
    views=(
        View("agentview", "observation.images.image", (256, 256)),
        View("wrist", "observation.images.wrist_image", (256, 256)),
    ),
    control_rate=20.0,
    reward_terms=_single_arm_terms("wrist", "agentview"),
    action_kind="end_effector_deltas",
    commands=(
        *(Channel(f"delta_{axis}", "1", -1.0, 1.0) for axis in "xyz"),
        *(Channel(f"delta_rotation_{axis}", "1", -1.0, 1.0) for axis in "xyz"),
        Channel("gripper", "1", -1.0, 1.0, gripper=True),
    ),
)
"""The Panda of LIBERO (robosuite's OSC_POSE): one step moves the tool by at most 5 cm and 0.5 rad; gripper -1 opens.
The state is position and axis-angle of the tool, then both fingers. Limits of the position are those of the table."""


def _aloha_arm(side: str) -> tuple[Channel, ...]:
    names = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
    lower = (-3.14158, -1.85005, -1.76278, -3.14158, -1.8675, -3.14158)
    upper = (3.14158, 1.25664, 1.6057, 3.14158, 2.23402, 3.14158)
    joints = (Channel(f"{side}_{n}", "rad", low, high) for n, low, high in zip(names, lower, upper, strict=True))
    return (*joints, Channel(f"{side}_gripper", "1", 0.0, 1.0, gripper=True))


ALOHA: Final = Embodiment(
    name="aloha",
    robot_type="aloha",
    state=_aloha_arm("left") + _aloha_arm("right"),
    views=(View("top_camera", "observation.images.top", (480, 640)),),
    control_rate=50.0,
    reward_terms=_bimanual_terms("top_camera", {}),
)
"""gym-aloha: two ViperX arms, 14 joint targets (a gripper is 0 closed to 1 open), one camera above."""

EMBODIMENTS: Final = {robot.name: robot for robot in (BIMANUAL_PIPER, LIBERO_PANDA, ALOHA)}
