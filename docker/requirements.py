"""Prints the dependencies of pyproject.toml without those a ROS 2 installation brings, plus the extras named as [x].

onnxruntime-gpu takes the place of onnxruntime: both install the same files, and the last one would win.
"""

import re
import sys
from pathlib import Path

import tomllib

FROM_ROS = ("ros-jazzy", "cv-bridge")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
requirements = list(project["dependencies"])
for extra in re.findall(r"\w[\w-]*", " ".join(sys.argv[1:])):
    requirements += project["optional-dependencies"][extra]


def name_of(line: str) -> str:
    """The distribution a requirement is about."""
    return re.split(r"[^\w-]", line)[0]


dropped = {"onnxruntime"} if "onnxruntime-gpu" in map(name_of, requirements) else set()
print("\n".join(line for line in requirements if not line.startswith(FROM_ROS) and name_of(line) not in dropped))
