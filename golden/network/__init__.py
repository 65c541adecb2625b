"""The integer network: the contract between training, the golden executor and the hardware compiler.

Nothing here but `execute` and `neurons` needs PyTorch.
"""

from spikeloom.golden.network.network import (
    FORMAT,
    GROUPS,
    IMAGE,
    MOST_SHIFT,
    PIXEL_BITS,
    TENSORS,
    VERSION,
    Coding,
    Kind,
    Layer,
    Network,
    Neuron,
    TensorInfo,
)

__all__ = [
    "FORMAT",
    "GROUPS",
    "IMAGE",
    "MOST_SHIFT",
    "PIXEL_BITS",
    "TENSORS",
    "VERSION",
    "Coding",
    "Kind",
    "Layer",
    "Network",
    "Neuron",
    "TensorInfo",
]
