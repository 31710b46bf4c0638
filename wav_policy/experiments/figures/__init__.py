"""Measurements behind the figures of `wav report`."""
