"""`wav train STAGE ...` as a process that accelerate, torchrun or SLURM starts: `python -m wav_models.training`."""

from __future__ import annotations

import sys

from wav_models.endings import ended
from wav_models.training.command import PROG, main

if __name__ == "__main__":
    code = ended(PROG, lambda: main(sys.argv[1:]))
    from wav_models.training.parallel import leave  # brings torch, which --help does without

    leave(code)
