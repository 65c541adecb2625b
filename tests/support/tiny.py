"""A network and a model so small that every command is done with them at once."""

import torch

from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.network.random_network import random_network


def tiny_network():
    """Of images of 4x4 pixels and four classes."""
    return random_network(3, height=4, width=4, stem=(4, 8), hidden=8, classes=4)


def tiny_model(seed=0, **fields):
    """Of the digits' shape, with time masks and random weights."""
    torch.manual_seed(seed)
    return Spikformer(SpikformerConfig(dim=8, heads=2, dynamic=True, **fields))
