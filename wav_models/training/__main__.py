"""`accelerate launch -m wav_models.training STAGE ...`."""

from __future__ import annotations

import sys

from wav_models.training.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], launched=True))
