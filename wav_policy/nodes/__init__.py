"""The nodes. What one imports takes seconds: who is told to end in that time has nothing to end, and says nothing."""

import os
import sys

from wav_models.signals import on_end

if sys.argv[:1] == ["-m"]:  # a process that begins as one of these modules; whoever imports them keeps its own signals
    on_end(lambda: os._exit(0))
