"""Training of Spikformers, with trained time steps, and of E-SpikeFormers: one loop for one core and for many GPUs.

`train_run` takes a `RunConfig` and a folder, in which it keeps a log and what it needs to go on after a kill.
`DIGITS_RUN` makes the digits model that is shipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from spikeloom.common.files import writable_folder
from spikeloom.common.lock import folder_lock
from spikeloom.golden.data import datasets
from spikeloom.golden.data.origin import class_names
from spikeloom.golden.models.architectures import Model, make_model
from spikeloom.golden.models.neurons import compiled_neurons
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.threads import torch_threads
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.evaluation import count_correct
from spikeloom.golden.training.parallel import Processes, local_device, processes
from spikeloom.golden.training.pretrain import pretrain
from spikeloom.golden.training.progress import EpochReport, Hooks
from spikeloom.golden.training.run_config import RunConfig, TrainConfig, check_data
from spikeloom.golden.training.training_loop import ENOUGH, STATE, TrainingLoop
from spikeloom.golden.training.warm_start import begin_with

# The model that is shipped for the digits. Its attention fires at the integer 8 of Spikformer: this neuron
# does not halve its input, so that its real threshold is 1 and not 0.5.
DIGITS = SpikformerConfig(neuron="dts", attention_threshold=1.0, dynamic=True, initial_steps=3)


DIGITS_RUN = RunConfig(
    name="digits",
    model=DIGITS,
    augment=Augmentation(shift=0.4, rotation=6.0, zoom=0.06),
    train=TrainConfig(device="cpu"),
)
"""How it was trained: `examples/digits.yaml`."""


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What came out."""

    accuracy: float
    """Of the held-out images, 0..1."""
    train_accuracy: float
    """Of the training images, of at most 16,384 of them."""
    t_per_layer: dict[str, int]
    """``T_l`` by layer name."""
    t_avg: float
    """Their mean."""
    parameters: int
    """Trained numbers."""
    seconds: float
    """Wall clock, of the last start alone."""
    recipe: RunConfig
    """What was wanted."""
    split: str
    """Which images are held out."""
    class_names: tuple[str, ...] = ()
    """What the classes are called, in the order of their labels; empty where nobody says."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def train_run(
    run: RunConfig,
    folder: str | Path | None = None,
    *,
    restart: bool = False,
    progress: Callable[[EpochReport], None] | None = None,
    stepped: Callable[[int, int], None] | None = None,
    start: Spikformer | None = None,
) -> tuple[Model, TrainingReport]:
    """Train as the configuration says and return the model, in evaluation mode, with a report.

    folder: where the run keeps its state after each epoch and `log.csv` (and TensorBoard's events, where
    tensorboard is installed); a run that finds its state there goes on behind the last whole epoch and ends
    with the same weights as one that was never stopped; pre-training has a folder of its own in it. None keeps
    nothing. restart: begin anew. progress:
    called after each epoch, and for those that were done before. stepped: called after each step with the
    steps done and all steps. start: the model to begin with, which is changed; one with random weights when None.

    Under torchrun all processes call this, and each gets the model; only the first one writes.
    Raises ValueError where the state in the folder is of another configuration, with the keys that differ; OSError
    where the folder cannot be written; InUseError where another run is at work in it.
    """
    if run.finetune is not None and start is None:
        raise ValueError("finetune: a trained model is tuned by `spikeloom quantize CHECKPOINT --finetune EPOCHS`")
    device = local_device(run.train.device)
    with compiled_neurons(run.train.compile), processes(device) as team, _alone(folder, team):
        place = None if folder is None else Path(folder)
        hooks = Hooks(progress=progress, stepped=stepped)
        return _trained(run, team, device, place, hooks, restart=restart, start=start)


def _alone(folder: str | Path | None, team: Processes) -> AbstractContextManager[None]:
    """Keep other runs out of the folder, after it was tried; the first process does so for its team."""
    if folder is None or not team.main:
        return nullcontext()
    return folder_lock(writable_folder(folder), "train")


def _trained(
    run: RunConfig,
    team: Processes,
    device: torch.device,
    folder: Path | None,
    hooks: Hooks,
    *,
    restart: bool,
    start: Spikformer | None,
) -> tuple[Model, TrainingReport]:
    started = time.monotonic()
    where, size = run.data.folder, run.data.size
    train_set, test_set = (datasets.open_images(run.data.name, split, where, size=size) for split in ("train", "test"))
    check_data(run, train_set, test_set)
    with torch_threads(run.train.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.train.seed)
        model = start or make_model(run.model)
        if run.init is not None and start is None and (restart or folder is None or not (folder / STATE).is_file()):
            begin_with(model, run.init)
        if run.pretrain is not None and start is None:
            pretrain(model, run, team, device, train_set, test_set, folder, hooks, restart=restart)
        training = TrainingLoop(run, team, device, train_set, test_set, folder, model)
        training.fit(hooks, restart=restart)
        model = training.finished()
        report = _report(training, started)
    return model.cpu(), report


def _report(training: TrainingLoop, started: float) -> TrainingReport:
    run, model = training.run, training.model
    steps = model.time_steps()
    shown = training.chosen[datasets.spread_out(len(training.chosen), ENOUGH)]
    return TrainingReport(
        accuracy=training.held_out_accuracy(),
        train_accuracy=count_correct(model, training.train_set, shown) / len(shown),
        t_per_layer=steps,
        t_avg=sum(steps.values()) / len(steps),
        parameters=sum(x.numel() for x in model.parameters()),
        seconds=round(time.monotonic() - started, 1),
        recipe=run,
        split=datasets.describe(run.data.name, training.train_set, training.test_set),
        class_names=class_names(run.data.name, training.train_set),
    )
