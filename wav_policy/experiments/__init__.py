"""Measurements: closed-loop trials, benchmarks, figures, the fault campaign. No robot needs them."""
