"""The three experts of a WAV model and their initial weights."""

from __future__ import annotations

import inspect
import math
import shutil
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from wav_models.networks.action_dit import ActionDiT
from wav_models.networks.value_dit import ValueDiT
from wav_models.networks.video_dit import VideoDiT
from wav_models.presets import ModelConfig

NUM_FORMS: Final = 64
"""In which a kind of block may be called in one process: views apart or jointly, over memory, M futures or one, in the
sizes and precisions of several models. Beyond torch's own limit of 8 it runs uncompiled, and a warning says so."""


class WAVModel(nn.Module):
    """World (`video`), value and action: independent modules, so that each can be compiled and trained alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.video = VideoDiT(config)
        self.value = ValueDiT(config)
        self.action = ActionDiT(config)
        if not next(self.parameters()).is_meta:  # where only shapes are wanted; torch would import its compiler for it
            initialize(self)


def blocks_of(model: WAVModel) -> tuple[nn.Module, ...]:
    """The transformer blocks of all three experts."""
    return (*model.video.transformer_blocks, *model.value.blocks, *model.action.blocks)


def compile_blocks(model: WAVModel, **options: Any) -> None:
    """Fuse the elementwise work of every transformer block; all blocks of a kind share one compilation.

    Args:
        options: of torch.compile.
    """
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        options |= {"recompile_limit": NUM_FORMS}
    else:  # for all threads; where there is that option, for the present one only
        from torch._dynamo import config

        config.recompile_limit = NUM_FORMS
    for block in blocks_of(model):
        block.compile(**options)


def lacking_to_compile(device: str) -> str:
    """What `compile_blocks` would miss there, for which it fails after minutes only, and how to get it; "" where it is
    all there: code for the CPU needs a C++ compiler and Python's headers.

    Args:
        device: type, "cpu" or "cuda".
    """
    if device != "cpu":
        return ""
    if not any(map(shutil.which, ("g++", "clang++"))):
        return "a C++ compiler (apt-get install g++ python3-dev)"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "Python's headers (apt-get install python3-dev)"
    return ""


def recompute_activations(model: WAVModel) -> None:
    """Keep only what enters a block for the backward pass, and run the block again there."""
    for block in blocks_of(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """Initial weights for training from scratch.

    Projections back into the residual stream are scaled down by depth, modulation starts at "no shift, no scale, gate
    open", and the last projection at zero, so that the first prediction is zero and every block receives gradient.
    """
    depth = max((len(child) for child in module.modules() if isinstance(child, nn.ModuleList)), default=1)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif name.endswith("scale_shift_table"):
            parameter.zero_()
            parameter[2::3] = 1.0
        elif name.endswith(("norm_q.weight", "norm_k.weight")):
            parameter.fill_(1.0)
        elif name.endswith(("proj_out.weight", "time_embed.linear.weight", "view_ada.weight")) and ".ff." not in name:
            parameter.zero_()
        elif name.endswith("view_embed"):
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.xavier_uniform_(parameter)
            if name.endswith(("to_out.weight", "ff.proj_out.weight")):
                parameter.mul_(1.0 / math.sqrt(3 * depth))
