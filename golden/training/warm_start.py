"""Training that begins with the weights of another model."""

from __future__ import annotations

import torch

from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.architectures import Model, architecture_of
from spikeloom.golden.zoo.shipped import catalogue


def begin_with(model: Model, init: str) -> None:
    """Give a model the weights and batch norms of a trained one, the time masks excepted.

    init: a checkpoint, or the name of a model that comes with the package. Its time steps and neurons may be others.
    Raises FileNotFoundError; ValueError for another architecture or another shape, with the tensor.
    """
    shipped = catalogue().get(init)
    given, _ = checkpoints.load(init if shipped is None else shipped.path)
    wanted, found = architecture_of(model.config), architecture_of(given.config)
    if wanted != found:
        raise ValueError(f"init: {init} must hold a model of the architecture {wanted}, not {found}")
    there = model.state_dict()
    tensors = {key: x for key, x in given.state_dict().items() if "time_mask" not in key}
    for key in [key for key in there if "time_mask" not in key]:
        if key not in tensors or tensors[key].shape != there[key].shape:
            shape = tuple(tensors[key].shape) if key in tensors else "nothing"
            raise ValueError(f"init: {init}: tensor {key!r} must have shape {tuple(there[key].shape)}, not {shape}")
    extra = sorted(set(tensors) - set(there))
    if extra:
        raise ValueError(f"init: {init} has the tensor {extra[0]!r}, which the model does not")
    with torch.no_grad():
        for key, x in tensors.items():
            there[key].copy_(x)
