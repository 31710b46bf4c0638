"""`python -m wav_policy.cli`: the same as `wav`."""

import sys

from wav_policy.cli.main import main

sys.exit(main())
