"""What is common to writing and reading NIR: the node types that a network knows, and what NIR has no field for."""

from __future__ import annotations

import json
from typing import Any

import nir
import numpy as np

POOLS = (nir.SumPool2d, nir.AvgPool2d)
PRODUCTS = (nir.Conv2d, nir.Affine, nir.Linear)
NEURONS = (nir.IF, nir.LIF)
TAKEN = (nir.Input, nir.Output, nir.Flatten, nir.Scale, *POOLS, *PRODUCTS, *NEURONS)


def metadata(**about: Any) -> dict[str, str]:
    """What NIR has no field for, as readers of other programs will ignore it."""
    return {"spikeloom": json.dumps(about)}


def told(node: nir.NIRNode) -> dict[str, Any]:
    """What `_metadata` wrote; empty for nodes of other programs."""
    try:
        found = json.loads(text((node.metadata or {}).get("spikeloom", "{}")))
    except (json.JSONDecodeError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """A convolution in groups as a whole one, with zeros between the groups."""
    out, inside = len(weight) // groups, weight.shape[1]
    found = np.zeros((len(weight), inside * groups, *weight.shape[2:]))
    for g in range(groups):
        found[g * out : (g + 1) * out, g * inside : (g + 1) * inside] = weight[g * out : (g + 1) * out]
    return found


def pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value), 2)
    return int(both[0]), int(both[1])
