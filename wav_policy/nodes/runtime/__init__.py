"""What every node has: parameters, polling, diagnostics, lifecycle, spinning."""
