"""What a camera's driver says of its optics, as JSON data."""

from __future__ import annotations

import math
from typing import Any

from sensor_msgs.msg import CameraInfo

from wav_policy.nodes.messages.limits import MessageError


def facts_from_message(message: CameraInfo) -> dict[str, Any]:
    """Size [px], frame, distortion model with its coefficients d, and the matrices k, r and p, row by row; all of
    sensor_msgs/CameraInfo but binning and the region of interest.

    Raises:
        MessageError: a number is not finite.
    """
    facts = {name: [float(number) for number in getattr(message, name)] for name in ("d", "k", "r", "p")}
    for name, numbers in facts.items():
        if not all(map(math.isfinite, numbers)):
            raise MessageError(f"{name} of the camera info is not finite: {numbers}")
    return {
        "frame_id": message.header.frame_id,
        "width": message.width,
        "height": message.height,
        "distortion_model": message.distortion_model,
        **facts,
    }
