"""Names of the engines there are, without loading any."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Final

AUTO: Final = "auto"
RUNTIMES: Final = tuple(
    sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).with_name("runtimes"))]))
)
"""Of exported graphs, installed or not: the modules of the package `runtimes`."""
ENGINES: Final = (AUTO, "torch", *RUNTIMES)
