"""From a checkpoint to a network of integers: bits within a budget, training on, and what all of it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spikeloom.common.files import file_hash, writable_file
from spikeloom.common.folders import file_in, folder_of
from spikeloom.flow.images import load_samples, named_data, training_images
from spikeloom.flow.models import Checkpoint, numbers_of, quantized, time_steps, with_steps
from spikeloom.flow.records import percent

if TYPE_CHECKING:
    from spikeloom.flow.progress import Bars
    from spikeloom.golden.network import Network
    from spikeloom.golden.quantization.precision import Sensitivity
    from spikeloom.golden.quantization.report import LayerReport
    from spikeloom.golden.training.progress import EpochReport

CALIBRATION = 1000
"""Training images on which a budget measures, where the user does not say."""
BITS = 8
"""Of a weight, where the user does not say."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How a checkpoint shall become a network."""

    bits: int | None = None
    """Of all weights, 8 or 4; `BITS` when None."""
    layer_bits: list[str] | None = None
    """Other bits of layers, each LAYER=BITS."""
    budget: str | None = None
    """Size of all weights at most, as 80kB: 4 bits where they cost least; instead of bits."""
    calibration: int = CALIBRATION
    """Training images on which the budget measures."""
    finetune: int = 0
    """Epochs of training with the quantised weights."""
    learning_rate: float | None = None
    """Of that training; its own default when None."""
    restart: bool = False
    """Begin that training anew instead of going on."""
    scales: Literal["power-of-two", "free"] = "power-of-two"
    """Of the channels."""
    coding: Literal["planes", "unary"] = "planes"
    """Of integer spikes in dot products."""
    name: str | None = None
    """Of the network; the checkpoint's when None."""
    layer_losses: bool = False
    """Measure the accuracy that each layer alone loses."""
    steps: list[str] | None = None
    """Other time steps, each LAYER=T; not with fine-tuning."""
    data: str | None = None
    """The images' data set, as `load_samples` takes it."""
    data_folder: Path | None = None
    """Of the data set's files."""
    images: int | None = None
    """Held-out images that are measured; all when None."""
    output: Path | None = None
    """The network's file, or its folder; in the build folder when None."""

    def __post_init__(self) -> None:
        if self.budget is not None and (self.bits is not None or self.layer_bits):
            raise ValueError("--budget chooses the bits: leave out --bits and --layer-bits")
        if self.finetune and self.steps:
            raise ValueError("--finetune keeps the trained time steps: leave out --steps")

    @cached_property
    def bits_by_layer(self) -> dict[str, int]:
        """Of `layer_bits`. ValueError for another form."""
        return numbers_of(self.layer_bits, "--layer-bits must be LAYER=BITS, as in sps.0=8")

    @cached_property
    def bytes(self) -> int | None:
        """Of the budget, if there is one. ValueError for what is no size."""
        from spikeloom.golden.quantization.precision import parse_bytes

        return None if self.budget is None else parse_bytes(self.budget)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A network that was written, and what making it cost."""

    request: Request
    """What was wanted."""
    path: Path
    """The network's file."""
    network: Network
    """What is in it."""
    images: int
    """Measured; 0 where there are no labels, the accuracies are None then."""
    accuracy_float: float | None
    """Of the checkpoint, 0 to 1."""
    accuracy_before: float | None
    """Of the network before the training with quantised weights; None without it."""
    accuracy_integer: float | None
    """Of the network."""
    sensitivities: list[Sensitivity]
    """What 4 bits cost each layer; empty without a budget."""
    tuned_checkpoint: Path | None
    """What that training left; None without it."""
    layers: list[LayerReport]
    """What quantisation did to each layer."""

    @property
    def bits(self) -> dict[str, int]:
        """Of each layer's weights."""
        return bits_of(self.network)

    def record(self) -> dict[str, Any]:
        """As `spikeloom quantize --json` has it."""
        from spikeloom.golden.quantization.precision import weight_bytes

        asked = self.request
        same = asked.budget is None and not asked.layer_bits
        return {
            "network": self.path,
            "name": self.network.name,
            "weight_bits": asked.bits or (BITS if same else None),
            "bits_per_layer": self.bits,
            "weight_bytes": weight_bytes(self.network),
            "scales": asked.scales,
            "coding": asked.coding,
            "accuracy_float": self.accuracy_float,
            "accuracy_before_finetuning": self.accuracy_before,
            "accuracy_integer": self.accuracy_integer,
            "images": self.images,
            "budget": asked.bytes,
            "sensitivities": self.sensitivities,
            "tuned_checkpoint": self.tuned_checkpoint,
            **time_steps(self.network),
            "layers": self.layers,
        }


class Quantization:
    """A request that can be met: making this says, in one line, what is wrong with it; `run` does the work.

    command: what the user typed, for the header of the tuned checkpoint.
    Raises what `load_samples` and `writable_file` raise; ValueError for a budget below 4 bits everywhere, and where
    labels are needed and there are none.
    """

    def __init__(self, checkpoint: Checkpoint, request: Request, *, command: str) -> None:
        from spikeloom.golden.quantization.precision import check_budget

        self.checkpoint, self.request, self.command = checkpoint, request, command
        budget, other_bits = request.bytes, request.bits_by_layer
        self.network = self._integers(checkpoint, request.bits or BITS)
        if other_bits:
            self.network = self._integers(checkpoint, bits_of(self.network) | other_bits)
        self.samples = load_samples(request.data, self.network, request.images, folder=request.data_folder)
        if budget is not None:
            check_budget(self.network, budget)
        if request.layer_losses and self.samples.labels is None:
            raise ValueError("--layer-losses needs images with labels")
        self.path = writable_file(file_in(request.output, folder_of(self.network.name), "network.safetensors"))
        self.source = named_data(request.data, self.network.provenance, request.data_folder)

    def run(self, shown: Bars) -> Quantized:
        """Choose bits, train on, measure, as far as it is wanted, and write the network."""
        request, network, trained = self.request, self.network, self.checkpoint
        sensitivities: list[Sensitivity] = []
        before = tuned = None
        if (budget := request.bytes) is not None:
            from spikeloom.golden.quantization.precision import choose_bits

            sensitivities = self._sensitivities(shown)
            network = self._integers(trained, choose_bits(sensitivities, budget), budget=budget)
        accuracy_float = self._accuracy_float()
        if request.finetune:
            before = self._accuracy(network, "before fine-tuning", shown)
            trained, tuned = self._finetuned(network, shown)
            about = {"finetune_epochs": request.finetune, "tuned_checkpoint_sha256": file_hash(tuned)}
            network = self._integers(trained, bits_of(network), **about)
        after = self._accuracy(network, "integer network", shown)
        images = 0 if after is None else len(self.samples.images)
        if after is not None:
            measured = {"accuracy_float": accuracy_float, "accuracy_integer": after, "images": images}
            network = replace(network, provenance={**network.provenance, **measured})
        layers = self._layers(trained, network, shown)
        network.save(self.path)
        return Quantized(
            request=request,
            path=self.path,
            network=network,
            images=images,
            accuracy_float=accuracy_float,
            accuracy_before=before,
            accuracy_integer=after,
            sensitivities=sensitivities,
            tuned_checkpoint=tuned,
            layers=layers,
        )

    def _integers(self, trained: Checkpoint, bits: int | Mapping[str, int], **about: Any) -> Network:
        """The checkpoint's integers; about: what its provenance should say besides."""
        request = self.request
        options: dict[str, Any] = {"scales": request.scales, "coding": request.coding}
        made = quantized(trained, name=request.name, weight_bits=bits, about=about, **options)
        return with_steps(made, request.steps)

    def _sensitivities(self, shown: Bars) -> list[Sensitivity]:
        """What 4 bits cost each layer, on training images."""
        from spikeloom.golden.quantization.precision import sensitivities

        part = training_images(*self.source, self.network, self.request.calibration)
        assert part.labels is not None
        advance = shown.bar("4 bits for a layer")
        return sensitivities(
            self.checkpoint.model, part.images, part.labels, scales=self.request.scales, progress=advance
        )

    def _accuracy_float(self) -> float | None:
        from spikeloom.golden.training.evaluation import accuracy

        images, labels = self.samples
        return None if labels is None else accuracy(self.checkpoint.model, images, labels)

    def _accuracy(self, network: Network, text: str, shown: Bars) -> float | None:
        """Of a network on the held-out images, behind a bar with the text; None without labels."""
        from spikeloom.golden.network.execute import execute

        images, labels = self.samples
        if labels is None:
            return None
        advance = shown.bar(text, len(images))
        return execute(network, images, progress=lambda done: advance(done)).accuracy(labels)

    def _finetuned(self, network: Network, shown: Bars) -> tuple[Checkpoint, Path]:
        """The checkpoint with a model that is tuned to the network's bits and scales, and the file of that model."""
        from spikeloom.golden.models import checkpoints
        from spikeloom.golden.training import qat

        request, before = self.request, self.checkpoint
        run = qat.finetuning(
            before.model,
            before.header,
            network.provenance["checkpoint_sha256"],
            weight_bits=bits_of(network),
            scales=network.provenance["quantization"]["scales"],
            epochs=request.finetune,
            learning_rate=qat.LEARNING_RATE if request.learning_rate is None else request.learning_rate,
            data=self.source,
        )
        advance = shown.bar("fine-tuning")

        def progress(state: EpochReport) -> None:
            line = f"integer accuracy {percent(state.accuracy)}  loss {state.loss:.3f}"
            advance(stage=f"epoch {state.epoch} of {state.epochs}  {line}")

        folder = self.path.with_name(f"{self.path.stem}-finetune")
        tuned, report = qat.finetune(
            before.model, run, folder, restart=request.restart, progress=progress, stepped=advance
        )
        about = report.as_dict()
        about["accuracy_integer"] = about.pop("accuracy")
        path = folder / "checkpoint.safetensors"
        checkpoints.save(path, tuned, command=self.command, **about)
        return replace(before, model=tuned), path

    def _layers(self, trained: Checkpoint, network: Network, shown: Bars) -> list[LayerReport]:
        from spikeloom.golden.quantization.report import report

        if not self.request.layer_losses:
            return report(trained.model, network)
        images, labels = self.samples
        advance = shown.bar("layer by layer", len(network.layers))
        return report(trained.model, network, images=images, labels=labels, progress=advance)


def bits_of(network: Network) -> dict[str, int]:
    """Bits of the weights, by layer, of the layers that have some."""
    return {layer.name: layer.weight_bits for layer in network.layers if layer.weight is not None}
