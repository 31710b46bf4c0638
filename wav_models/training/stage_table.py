"""The stages by name."""

from __future__ import annotations

from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import DISTIL, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.distil_stage import DistilStage
from wav_models.training.low_rank import adapt
from wav_models.training.stages import ActionStage, BaseStage, Evaluate, ValueStage, VideoStage


def make_stage(
    name: str,
    model: WAVModel,
    batches: Batches,
    config: TrainConfig,
    evaluate: Evaluate,
    teacher: WAVModel | None = None,
) -> BaseStage:
    """The stage of that name over `model`; freezes what it does not train, and adds its adapters.

    Args:
        teacher: of "distil"; the model as it is now when None.
    """
    own = getattr(config, name)
    if name == DISTIL:
        stage: BaseStage = DistilStage(model, batches, own, evaluate, teacher)
    else:
        kinds: tuple[type[BaseStage], ...] = (VideoStage, ValueStage, ActionStage)
        stage = {kind.name: kind for kind in kinds}[name](model, batches, own, evaluate)
    stage.freeze(config.frozen)
    if stage.config.lora is not None:
        adapt(model, stage.config.lora)
    return stage
