"""`accelerate launch -m wav_models.training STAGE ...`."""

from __future__ import annotations

import sys

from wav_models.training.command import main
from wav_models.training.parallel import leave

if __name__ == "__main__":
    leave(main(sys.argv[1:], launched=True))
