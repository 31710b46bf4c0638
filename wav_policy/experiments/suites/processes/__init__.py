"""What runs inside a suite's own virtual environment, by its path: these files import nothing of this package."""
