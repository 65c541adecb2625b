"""Which core runs a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeloom.golden.network import Network
    from spikeloom.rtl.core.config import CoreConfig


def core_for(network: Network, board: str | None = None, **sizes: int | None) -> CoreConfig:
    """The smallest core that runs the network: of the sizes that are not None, else of those that suit the board.

    CompileError where the board has too little block memory for it.
    """
    from spikeloom.gen.resources import check_device
    from spikeloom.gen.sizing import smallest_core
    from spikeloom.gen.targets import target

    chosen = {key: value for key, value in sizes.items() if value is not None}
    if board is None:
        return smallest_core(network, **chosen)
    device = target(board)
    config = smallest_core(network, **{**device.core, **chosen})
    check_device(config, device)
    return config
