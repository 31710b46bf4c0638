"""What no robot needs: controls of planning, diagnosis, figures. Importing it adds the planners of experiments."""

from wav_models.experiments import planners

__all__ = ["planners"]
