"""Models that come with the package: trained checkpoints, listed in a manifest with what proves them.

The manifest, `models/manifest.json`, has for each model the file's SHA-256 and size, the accuracy on the held-out
images and the command that made it. `python -m spikeloom.golden.zoo.shipped FILE...` writes it anew from checkpoints,
which know all of that themselves. A file in the package has at most `LARGEST` bytes; larger models belong to a release.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from spikeloom.common.files import file_hash, written_aside

LARGEST = 2_000_000  # bytes of a file in the package


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """An entry of the manifest.

    sha256, bytes: of the file. data: name of the data set. accuracy: of the floating-point model on the held-out
    images, 0..1. split: which these are. t_avg, t_max: mean and largest time steps. parameters: trained numbers.
    command: what made it.
    """

    name: str
    sha256: str
    bytes: int
    architecture: str
    data: str
    accuracy: float
    split: str
    t_avg: float
    t_max: int
    parameters: int
    command: str

    @property
    def path(self) -> Path:
        return Path(str(_folder() / f"{self.name}.safetensors"))

    def check(self) -> None:
        """ValueError where the file is not the one of the manifest."""
        if not self.path.is_file():
            raise ValueError(f"the file of the shipped model {self.name!r} is missing; install SpikeLoom again")
        if file_hash(self.path) != self.sha256:
            raise ValueError(f"the file of the shipped model {self.name!r} was changed; install SpikeLoom again")


@cache
def catalogue() -> dict[str, ShippedModel]:
    """All shipped models by name, in the manifest's order."""
    entries: dict[str, dict[str, Any]] = json.loads((_folder() / "manifest.json").read_text())
    return {name: ShippedModel(name=name, **entry) for name, entry in entries.items()}


def shipped(name: str) -> Path:
    """Path of a model that comes with the package; ValueError for another name, or a file that was changed."""
    known = catalogue()
    if name not in known:
        raise ValueError(f"no shipped model {name!r}; known: {', '.join(known)}")
    known[name].check()
    return known[name].path


def entry(path: Path) -> dict[str, Any]:
    """What the manifest says about a checkpoint; ValueError where it is too large for the package."""
    from spikeloom.golden.models import checkpoints

    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes, more than the {LARGEST} of a file in the package")
    model, about = checkpoints.load(path)
    recipe = about["recipe"]
    return {
        "sha256": file_hash(path),
        "bytes": size,
        "architecture": about.get("architecture", "spikformer"),
        "data": recipe["dataset"] if "dataset" in recipe else recipe["data"]["name"],
        "accuracy": about["accuracy"],
        "split": about["split"],
        "t_avg": about["t_avg"],
        "t_max": getattr(model.config, "steps", 1),
        "parameters": about["parameters"],
        "command": about["command"],
    }


def _folder() -> Any:
    return resources.files("spikeloom.golden.zoo")


def _write(paths: list[str]) -> None:
    entries = {Path(path).stem: entry(Path(path)) for path in paths}
    with written_aside(str(_folder() / "manifest.json")) as aside:
        aside.write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    _write(sys.argv[1:])
