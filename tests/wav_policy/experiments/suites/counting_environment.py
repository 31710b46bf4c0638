"""An environment process whose task is done after as many steps as its state's number; some states are troublesome."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Reply = tuple[dict[str, Any], Sequence[np.ndarray]]
DIES, HANGS, DIES_ONCE, REFUSES, SLOW_TO_BEGIN = 7, 8, 9, 10, 11
NONSENSE = {31: "no state", 32: "a short state", 33: "a state that is no number", 34: "no success"}
"""What is wrong with the first answer to a step, by state."""
SLOW = 1.0


class Counting:
    def make(self, suite: str, task: int) -> Reply:
        print("libraries print to standard output")
        self.task = task
        return {"instruction": f"count in task {task}"}, ()

    def reset(self, state: int | None, seed: int) -> Reply:
        self.state, self.steps = state if state is not None else seed, 0
        if self.state == SLOW_TO_BEGIN:
            time.sleep(SLOW)
        return {"success": self.state == 0}, [np.full(8, float(self.state))]

    def step(self, action: np.ndarray) -> Reply:
        assert action.shape == (7,)
        mark = Path(sys.argv[2])
        if self.state == DIES or (self.state == DIES_ONCE and not mark.exists()):
            mark.touch()
            os._exit(3)
        if self.state == HANGS:
            time.sleep(60)
        if self.state == REFUSES:
            raise ValueError("the action is unbelievable")
        self.steps += 1
        nonsense = NONSENSE.get(self.state)
        header = {} if nonsense == "no success" else {"success": self.steps >= self.state}
        state = np.full(7 if nonsense == "a short state" else 8, float(self.steps))
        if nonsense == "a state that is no number":
            state[2] = np.nan
        return header, [] if nonsense == "no state" else [state]

    def render(self, size: int) -> Reply:
        return {}, [np.full((size, size, 3), view + self.steps, np.uint8) for view in range(2)]

    def operate(self, seed: int, quality: str, hold: int) -> Reply:
        self.quality, self.hold = quality, hold
        return {}, ()

    def demonstrate(self) -> Reply:
        failing, errs = self.quality == "failing", self.quality == "recovering" and self.steps < 4
        return {"finished": failing and self.steps > 2, "errs": errs}, [np.full(7, 0.5)]


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from serve import serve  # type: ignore[import-not-found]

    serve(Counting())
