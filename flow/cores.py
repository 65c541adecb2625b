"""Which core runs a network, and what the network is on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeloom.gen.plan import Plan
    from spikeloom.golden.network import Network


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A core for a network."""

    plan: Plan
    """The network on it."""
    why: str = ""
    """Why this core, in a line; empty where somebody named sizes, or no board."""


def chosen_for(network: Network, board: str | None = None, **sizes: Any) -> Chosen:
    """The smallest core of the sizes that are not None; where these leave its shape to a board, the best for that.

    Of a shape that is given in part the rest is that of the board's demo. CompileError where no core runs the network,
    or where the board has too little room for it.
    """
    from spikeloom.gen.explore import best
    from spikeloom.gen.resources import check_device
    from spikeloom.gen.sizing import SHAPE, plan_smallest
    from spikeloom.gen.targets import target

    given = {key: value for key, value in sizes.items() if value is not None}
    if board is None:
        return Chosen(plan=plan_smallest(network, **given))
    device = target(board)
    if not given.keys() & set(SHAPE):
        choice = best(network, device, given)
        return Chosen(plan=choice.candidate.plan, why=choice.why)
    plan = plan_smallest(network, **{**device.core, **given})
    check_device(plan.config, device)
    return Chosen(plan=plan)
