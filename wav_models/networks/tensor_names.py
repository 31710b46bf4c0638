"""One-to-one map between our parameter names and those of published checkpoints (flat, LTX-Video style)."""

from __future__ import annotations

_PREFIXES = (
    ("value.blocks.", "value_blocks."),
    ("action.blocks.", "action_blocks."),
    ("value.", "value_"),
    ("action.", "action_"),
    ("video.", ""),
)
"""(ours, theirs), longest first; the video part has no prefix."""

_PARTS = (
    (".to_out.", ".to_out.0."),
    (".ff.proj_in.", ".ff.net.0.proj."),
    (".ff.proj_out.", ".ff.net.2."),
    ("time_embed.linear_", "time_embed.emb.timestep_embedder.linear_"),
    ("view_ada.", "view_ada.1."),
)


def official_name(name: str) -> str:
    """Published name of a parameter of `WAVModel`."""
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    for ours, theirs in _PARTS:
        name = name.replace(ours, theirs)
    return name


def our_name(name: str) -> str:
    """Parameter of `WAVModel` with that published name."""
    for ours, theirs in _PARTS:
        name = name.replace(theirs, ours)
    for ours, theirs in _PREFIXES:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
