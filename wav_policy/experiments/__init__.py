"""Measurements: closed-loop trials, benchmarks, figures, the fault campaign. No robot needs them.

Whoever measures, worker processes included, knows the planners of `wav_models.experiments` by name.
"""

import wav_models.experiments  # noqa: F401
