"""What can be made to go wrong with the simulated cameras, while they run.

On a running system, from outside ("" takes all faults away)::

    ros2 param set /sim_node fault.cameras "head frozen, left_wrist dropped"
"""

from __future__ import annotations

from typing import Final

from wav_models.configuration import check_choice
from wav_policy.robot.cameras import VIEWS

CAMERA_FAULTS: Final = {
    "dropped": "the camera sends nothing",
    "frozen": "the camera sends its last picture again and again, with fresh stamps",
    "damaged_jpeg": "the camera sends JPEG instead, with bytes lost on the way",
    "odd_size": "pictures of another size",
    "odd_encoding": "pictures whose encoding says something else than they hold",
}
"""Name -> what it does."""


def parse_camera_faults(text: str) -> dict[str, str]:
    """From text such as "head frozen, left_wrist dropped" to a fault per view; "" is no fault.

    Raises:
        ValueError: naming the camera or fault that does not exist.
    """
    faults = {}
    for part in filter(None, map(str.strip, text.split(","))):
        view, _, fault = part.partition(" ")
        check_choice("camera", view, VIEWS)
        check_choice("camera fault", fault, CAMERA_FAULTS)
        faults[view] = fault
    return faults
