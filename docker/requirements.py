"""Prints the dependencies of pyproject.toml without those a ROS 2 installation brings, plus the extras named as [x]."""

import re
import sys
from pathlib import Path

import tomllib

FROM_ROS = ("ros-jazzy", "cv-bridge")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
requirements = list(project["dependencies"])
for extra in re.findall(r"\w[\w-]*", " ".join(sys.argv[1:])):
    requirements += project["optional-dependencies"][extra]
print("\n".join(line for line in requirements if not line.startswith(FROM_ROS)))
