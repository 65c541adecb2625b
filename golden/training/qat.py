"""Fine-tuning of a trained model with quantised weights: what training sees is what the hardware computes.

At each step `quantize` turns the parameters into integers, and the model runs with what those integers mean: folded
weights rounded to their channel's scale and clipped, biases rounded to theirs, the thresholds of the contract. So
there is no second definition of rounding that could differ from the first, and with power-of-two scales the model
equals the integer network spike by spike while it learns. Gradients pass the rounding unchanged (straight-through
estimator; Bengio et al., arXiv 1308.3432) to the weights and batch norm parameters below it.

The running statistics of the batch norms and the time masks stay as they are: both are part of the hardware by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from spikeloom.golden.data import datasets
from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.time_mask import TimeMask
from spikeloom.golden.network import Network
from spikeloom.golden.quantization.blueprints import blueprint
from spikeloom.golden.quantization.folded import folded
from spikeloom.golden.quantization.folding import folded_tensors
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.quantization.scales import Scales
from spikeloom.golden.training.progress import EpochReport
from spikeloom.golden.training.run_config import FinetuneConfig, RunConfig, SpikeConfig, of_header
from spikeloom.golden.training.train import TrainingReport, train_run

LEARNING_RATE = 5e-4  # its peak: a quarter to a sixth of the rates that made the shipped models


class QuantizationAware(Spikformer):
    """A Spikformer whose forward pass, in training and evaluation, is that of its integer network.

    It begins as a copy of a trained model, and its parameters keep their names, so that they are those of a plain
    model again. weight_bits, scales: as `quantize` takes them.
    """

    def __init__(self, model: Spikformer, *, weight_bits: int | Mapping[str, int], scales: Scales) -> None:
        super().__init__(model.config)
        self.load_state_dict(model.state_dict())
        self.requires_grad_(True)
        for stage in self.stages():
            if stage.neurons.time_mask is not None:
                stage.neurons.time_mask.requires_grad_(False)
        self.weight_bits, self.scales = weight_bits, scales
        # In a list, so that its parameters do not become those of this module.
        self._folded = [folded(model, self.network())]
        self._parts = blueprint(model).parts
        self._held: dict[str, Tensor] | None = None
        self.train(model.training)

    def network(self) -> Network:
        """The integer network of the parameters as they are."""
        return quantize(self, weight_bits=self.weight_bits, scales=self.scales)

    def plain(self) -> Spikformer:
        """A usual model of the same parameters, in evaluation mode."""
        model = Spikformer(self.config)
        model.load_state_dict(self.state_dict())
        return model.eval()

    def train(self, mode: bool = True) -> QuantizationAware:
        self._held = None  # what evaluation computes once
        return super().train(mode)

    def masks(self, groups: tuple[str, ...]) -> list[TimeMask]:
        """None that could be trained."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        held = self._held
        if held is None:
            with torch.autocast(images.device.type, enabled=False):
                held = self._tensors()
        if not self.training and not torch.is_grad_enabled():
            self._held = held
        model = self._folded[0] = self._folded[0].to(images.device)
        return functional_call(model, held, (images,))  # type: ignore[no-any-return]

    def _tensors(self) -> dict[str, Tensor]:
        """What takes the place of the folded model's weights and biases, by their names there."""
        network, model = self.network(), self._folded[0]
        names = {id(x): name for name, x in [*model.named_parameters(), *model.named_buffers()]}
        found = {}

        def put(place: Tensor, real: Tensor, integers: Any) -> None:
            exact = torch.from_numpy(integers).to(place.device).reshape(place.shape)
            found[names[id(place)]] = _Rounded.apply(real.reshape(place.shape), exact.to(place.dtype))

        for part, layer, stage, there in zip(self._parts, network.layers, self.layers(), model.layers(), strict=False):
            if stage.projection is None or there.projection is None or there.norm is None:
                continue
            weight, bias = folded_tensors(stage)
            assert isinstance(there.norm.bias, Tensor)
            put(there.projection.weight, weight, part.weights_of(layer))
            put(there.norm.bias, bias, part.bias_of(layer))
        part, layer = self._parts[-1], network.layers[-1]
        put(model.head.weight, self.head.weight, part.weights_of(layer))
        put(model.head.bias, self.head.bias, part.bias_of(layer))
        return found


class _Rounded(torch.autograd.Function):
    """The second tensor, with the first one's gradient."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, rounded: Tensor) -> Tensor:
        ctx.dtype = real.dtype
        return rounded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.to(ctx.dtype), None


def finetuning(
    model: Model,
    header: Mapping[str, Any],
    checkpoint: str,
    *,
    weight_bits: Mapping[str, int],
    scales: Scales,
    epochs: int,
    learning_rate: float = LEARNING_RATE,
    data: tuple[str, Path | None] | None = None,
) -> RunConfig:
    """The run that tunes a model: that of its training, as its checkpoint's header tells, with another end.

    checkpoint: SHA-256 of its file. weight_bits: of each layer. learning_rate: falls along a cosine, without
    warm-up. data: name and folder of the data set, where it is not that of the training.
    Raises ValueError for one without training images.
    """
    if not isinstance(model, Spikformer):
        raise ValueError("fine-tuning with quantised weights knows Spikformers alone")
    run = of_header(header, model.config)
    changed = replace(
        run.train, epochs=epochs, learning_rate=learning_rate, min_learning_rate=0.0, warmup_epochs=0.0,
        weight_decay=0.0, ema=None, tet=None,
    )  # fmt: skip
    bits = tuple(f"{name}={bits}" for name, bits in weight_bits.items())
    tuned = FinetuneConfig(checkpoint=checkpoint, weight_bits=bits, scales=scales)
    if data is not None:
        name, folder = data
        if name not in datasets.KNOWN:
            known = ", ".join(datasets.KNOWN)
            raise ValueError(f"fine-tuning needs the training images of a data set ({known}), not {name!r}")
        place = None if folder is None else str(folder)
        size = model.config.height if name == "folder" else run.data.size
        run = replace(run, data=replace(run.data, name=name, folder=place, size=size))  # type: ignore[arg-type]
    return replace(run, model=model.config, train=changed, spikes=SpikeConfig(), init=None, finetune=tuned)


def finetune(
    model: Model,
    run: RunConfig,
    folder: str | Path | None = None,
    *,
    restart: bool = False,
    progress: Callable[[EpochReport], None] | None = None,
    stepped: Callable[[int, int], None] | None = None,
) -> tuple[Spikformer, TrainingReport]:
    """The model, tuned as `finetuning` says, in evaluation mode; the given one stays as it is.

    ``quantize`` with the same options makes of it the network that was trained. The report's accuracies are of
    integers. The other arguments, the resuming and the errors are those of `train_run`.
    """
    if run.finetune is None:
        raise ValueError("the run has no section finetune; make it with finetuning()")
    bits = {name: int(text) for name, _, text in (x.partition("=") for x in run.finetune.weight_bits)}
    assert isinstance(model, Spikformer)
    aware = QuantizationAware(model, weight_bits=bits, scales=run.finetune.scales)
    tuned, report = train_run(run, folder, restart=restart, progress=progress, stepped=stepped, start=aware)
    assert isinstance(tuned, QuantizationAware)
    return tuned.plain(), report
