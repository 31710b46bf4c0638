"""Which bodies touch."""

from __future__ import annotations

from wav_policy.sim.task import Cell


def touching(world: Cell, body: int) -> set[int]:
    """Ids of the bodies that `body` is in contact with."""
    data, model = world.data, world.model
    geoms = data.contact.geom
    if len(geoms) == 0:
        return set()
    pairs = model.geom_bodyid[geoms]
    involved = pairs[(pairs == body).any(axis=1)]
    return {int(other) for other in involved[involved != body]}


def gripped(world: Cell, side: str, name: str) -> bool:
    """Whether both fingers of an arm touch the body called `name`."""
    fingers = {world.model.body(f"{side}_finger{number}").id for number in (1, 2)}
    return fingers <= touching(world, world.model.body(name).id)
