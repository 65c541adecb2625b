"""Models by what the user calls them: a file, or the name of one that comes with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeloom.golden.models.architectures import Model
    from spikeloom.golden.network import Network


def model_path(model: str) -> Path:
    """The file that the user means: a path, or the name of a shipped model."""
    path = Path(model)
    if path.suffix or path.exists() or "/" in model:
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        return path
    from spikeloom.golden.zoo.shipped import shipped

    return shipped(model)


def load_checkpoint(model: str) -> tuple[Model, dict[str, Any], Path]:
    """The trained model, its header and its file."""
    from spikeloom.golden.models import checkpoints

    path = model_path(model)
    return *checkpoints.load(path), path


def checkpoint_provenance(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a network should say about the checkpoint that it was made from."""
    from spikeloom.common.files import file_hash

    about = {key: value for key, value in header.items() if key not in ("config", "t_per_layer")}
    if "accuracy" in about:
        about["accuracy_float"] = about.pop("accuracy")
    return {**about, "checkpoint_sha256": file_hash(path)}


def name_of(path: Path) -> str:
    """What a network made from a checkpoint is called: as the file, or as its folder."""
    return path.resolve().parent.name if path.stem == "checkpoint" else path.stem


def load_network(model: str, steps: Sequence[str] | None = None) -> Network:
    """The network of a file or of a shipped model; a checkpoint is quantised to 8 bits. steps: LAYER=T."""
    from spikeloom.golden.network import FORMAT, Network

    path = model_path(model)
    if file_format(path) == FORMAT:
        network = Network.load(path)
    else:
        from spikeloom.golden.models import checkpoints
        from spikeloom.golden.quantization.quantize import quantize

        trained, header = checkpoints.load(path)
        network = quantize(trained, name=path.stem, provenance=checkpoint_provenance(header, path))
    return with_steps(network, steps)


def with_steps(network: Network, steps: Sequence[str] | None) -> Network:
    """The network with the time steps of ``LAYER=T``."""
    wanted = {}
    for text in steps or ():
        name, equals, number = text.partition("=")
        if not equals or not number.strip().isdecimal():
            raise ValueError(f"--steps must be LAYER=T, as in block.0.attn=2, not {text!r}")
        wanted[name.strip()] = int(number)
    return network.with_steps(wanted) if wanted else network


def file_format(path: Path) -> str | None:
    """The format that the metadata of a safetensors file names; ValueError for another kind of file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format")
    except SafetensorError as error:
        raise ValueError(f"{path} is corrupt or not a safetensors file: {error}") from None


def time_steps(network: Network) -> dict[str, Any]:
    """What every command says about time steps."""
    steps = {layer.name: layer.steps for layer in network.spiking}
    return {"t_avg": network.t_avg, "t_max": network.steps, "t_per_layer": steps}
