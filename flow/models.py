"""Models by what the user calls them: a file, or the name of one that comes with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeloom.golden.data.origin import check_told
from spikeloom.golden.network import FORMAT, Network

if TYPE_CHECKING:
    from spikeloom.golden.models.architectures import Model


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained model in floating point."""

    model: Model
    """The PyTorch module, in evaluation mode: uint8 images (n, C, H, W) to class scores (n, classes)."""
    header: dict[str, Any]
    """What its file says: architecture, configuration, how it was trained, accuracy (0 to 1)."""
    path: Path
    """The file."""

    def __repr__(self) -> str:
        parameters = sum(x.numel() for x in self.model.parameters())
        return f"<Checkpoint {self.name!r}: {type(self.model).__name__}, {parameters:,} parameters>"

    @property
    def name(self) -> str:
        """What a network made from it is called: as the file, or as its folder."""
        return self.path.absolute().parent.name if self.path.stem == "checkpoint" else self.path.stem


def load(model: str | Path) -> Checkpoint | Network:
    """A trained model or a network of integers: from a file, or by the name of one that comes with the package.

    FileNotFoundError; ValueError, in one line, for an unknown name and for a file that is damaged or of another kind.
    """
    path = model_path(str(model))
    if file_format(path) != FORMAT:
        return load_checkpoint(path)
    network = Network.load(path)
    check_told(network.provenance, f"{path}: provenance")
    return network


def quantized(
    checkpoint: Checkpoint, *, name: str | None = None, about: Mapping[str, Any] | None = None, **options: Any
) -> Network:
    """The integer network of a checkpoint.

    about: what its provenance should say besides. options: those of `golden.quantization.quantize.quantize`.
    """
    from spikeloom.golden.quantization.quantize import quantize

    provenance = {**checkpoint_provenance(checkpoint.header, checkpoint.path), **(about or {})}
    return quantize(checkpoint.model, name=name or checkpoint.name, provenance=provenance, **options)


def network_of(source: Network | Checkpoint | str | Path) -> Network:
    """The network that is meant; a checkpoint is quantised to 8 bits."""
    found = load(source) if isinstance(source, str | Path) else source
    return quantized(found) if isinstance(found, Checkpoint) else found


def model_path(model: str) -> Path:
    """The file that the user means: a path, or the name of a shipped model."""
    path = Path(model)
    if path.suffix or path.exists() or "/" in model:
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        return path
    from spikeloom.golden.zoo.shipped import shipped

    return shipped(model)


def load_checkpoint(model: str | Path) -> Checkpoint:
    """The trained model that is meant; ValueError for a network."""
    from spikeloom.golden.models import checkpoints

    path = model_path(str(model))
    trained, header = checkpoints.load(path)
    check_told(header, f"{path}: header")
    return Checkpoint(model=trained, header=header, path=path)


def checkpoint_provenance(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a network should say about the checkpoint that it was made from."""
    from spikeloom.common.files import file_hash

    about = {key: value for key, value in header.items() if key not in ("config", "t_per_layer")}
    if "accuracy" in about:
        about["accuracy_float"] = about.pop("accuracy")
    return {**about, "checkpoint_sha256": file_hash(path)}


def load_network(model: str, steps: Sequence[str] | None = None) -> Network:
    """The network of a file or of a shipped model; a checkpoint is quantised to 8 bits. steps: LAYER=T."""
    return with_steps(network_of(model), steps)


def with_steps(network: Network, steps: Sequence[str] | None) -> Network:
    """The network with the time steps of ``LAYER=T``."""
    wanted = numbers_of(steps, "--steps must be LAYER=T, as in block.0.attn=2")
    return network.with_steps(wanted) if wanted else network


def numbers_of(given: Sequence[str] | None, rule: str) -> dict[str, int]:
    """Numbers by layer of ``LAYER=N``. ValueError with the rule for another form."""
    found = {}
    for text in given or ():
        name, equals, number = text.partition("=")
        if not equals or not number.strip().isdecimal():
            raise ValueError(f"{rule}, not {text!r}")
        found[name.strip()] = int(number)
    return found


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
