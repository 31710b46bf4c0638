"""Makes an editable installation visible to a full ROS 2: `python -m wav_policy.bringup.ament [PREFIX]`.

Links the package marker, `share/wav_policy` and `lib/wav_policy` of a prefix to the checkout. A normal installation
(`pip install .`, colcon) brings these as files. `ros2 launch` imports the launch files with its own Python, so
PYTHONPATH has to name the checkout as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wav_policy.bringup.paths import PACKAGE

CHECKOUT = Path(__file__).resolve().parents[2]
SHELL = CHECKOUT / "ros2_ws" / "src" / PACKAGE
SHARED = ("launch", "config", "checkpoints")


def install(prefix: Path) -> None:
    """Create or refresh the links under `prefix`."""
    _link(prefix / "share/ament_index/resource_index/packages" / PACKAGE, SHELL / "resource" / PACKAGE)
    share = prefix / "share" / PACKAGE
    _link(share / "package.xml", SHELL / "package.xml")
    for folder in SHARED:
        for file in (CHECKOUT / folder).rglob("*"):  # `ros2 launch` does not follow links to directories
            if file.is_file():
                _link(share / file.relative_to(CHECKOUT), file)
    for executable in (CHECKOUT / "ros2_ws/executables").iterdir():
        _link(prefix / "lib" / PACKAGE / executable.name, executable)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)


if __name__ == "__main__":
    install(Path(sys.argv[1] if len(sys.argv) > 1 else sys.prefix))
