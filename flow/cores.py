"""Which core runs a network, and what the network is on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeloom.gen.compiler import Compiled
    from spikeloom.gen.plan import Plan
    from spikeloom.golden.network import Network
    from spikeloom.rtl.core.config import CoreConfig


def compile_for(network: Network, board: str | None = None, **sizes: int | None) -> Compiled:
    """The network on the smallest core that runs it: of the sizes that are not None, else of those that suit the board.

    CompileError where no core runs it, or where the board has too little block memory for it.
    """
    from spikeloom.gen.compiler import compile_plan

    return compile_plan(_plan_for(network, board, sizes))


def core_for(network: Network, board: str | None = None, **sizes: int | None) -> CoreConfig:
    """The core of `compile_for`."""
    return _plan_for(network, board, sizes).config


def _plan_for(network: Network, board: str | None, sizes: dict[str, int | None]) -> Plan:
    from spikeloom.gen.resources import check_device
    from spikeloom.gen.sizing import plan_smallest
    from spikeloom.gen.targets import target

    chosen = {key: value for key, value in sizes.items() if value is not None}
    if board is None:
        return plan_smallest(network, **chosen)
    device = target(board)
    plan = plan_smallest(network, **{**device.core, **chosen})
    check_device(plan.config, device)
    return plan
