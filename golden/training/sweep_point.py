"""One run of a sweep: trained, quantised and measured.

What is measured of a run is measured of its integer network (8 bits), on held-out images:

* TS: ``T_avg``, the mean of ``T_l`` over the layers that fire (equation 3);
* SA: spikes a neuron and time step of all ``T_max``; masked steps count as steps without spikes;
* SOPs: accumulates an image that spikes cause, a value n of a residual sum as n of them, both products of the
  attention included; not those of the first layer, which reads pixels and is dense in any network;
* words of potentials read and written, and the energy with the paper's constants (`golden.analysis.energy`).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from spikeloom.common.files import data_hash, written_aside
from spikeloom.common.schema import checked
from spikeloom.common.strict_yaml import put
from spikeloom.golden.analysis.energy import SCHEDULES, spiking
from spikeloom.golden.analysis.energy_constants import CONSTANTS
from spikeloom.golden.analysis.operations import TOTAL, operations
from spikeloom.golden.data import datasets
from spikeloom.golden.data.images import Images
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_layers import collapsed
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.training.progress import EpochReport
from spikeloom.golden.training.run_config import from_mapping, to_yaml
from spikeloom.golden.training.train import train_run

CHECKPOINT = "checkpoint.safetensors"  # in a run's folder
SHORT = 60  # letters of a folder's name that tell the keys


def folder_of(key: str, run: Mapping[str, Any]) -> str:
    """Name of the folder of a run: readable, and unique by the digest of its configuration."""
    digest = data_hash(json.dumps(run, sort_keys=True))[:8]
    short = re.sub(r"[^A-Za-z0-9._=]+", "-", re.sub(r"\b[a-z]+\.(?=[a-z_]+=)", "", key)).strip("-")
    return f"{short[:SHORT]}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What tables and reports read of a run's result; see `run_point`."""

    accuracy: Annotated[float, Interval(ge=0, le=1)]
    """Of the model in floating point, on all held-out images."""
    accuracy_integer: Annotated[float, Interval(ge=0, le=1)]
    """Of the integer network, on `images`."""
    t_avg: Annotated[float, Interval(ge=0)]
    """Mean time steps of the layers that fire."""
    t_per_layer: dict[str, int]
    """Time steps of each of them."""
    collapsed: tuple[str, ...]
    """Those that have none."""
    activity: Annotated[float, Interval(ge=0, le=1)]
    """SA."""
    sops: Annotated[float, Interval(ge=0)]
    """Of an image."""
    membrane: Annotated[float, Interval(ge=0)] | None = None
    """Words of potentials read and written for an image; None in results of before it was measured, as the rest."""
    energy: dict[str, float] | None = None
    """Of an image in pJ, with the paper's constants, by the reuse of words."""
    cycles: Annotated[float, Interval(ge=0)] | None = None
    """Of an image on the core, estimated; by `flow.sweep`."""
    images: int
    """Held-out ones that were measured."""
    parameters: int
    """Of the model."""
    epochs: int
    """Of the training."""
    train_seconds: Annotated[float, Interval(ge=0)]
    """Wall clock of all epochs."""


def check_results(results: Mapping[str, Any], path: Path) -> None:
    """ValueError, with the run, where a result in a file of results lacks what the tables read, or cannot be meant."""
    for key, result in results.items():
        if result is None:  # of a run that failed
            continue
        known = result
        if isinstance(result, Mapping):
            known = {x.name: result[x.name] for x in fields(Measured) if x.name in result}
        try:
            checked(Measured, known, "result")
        except ValueError as error:
            raise ValueError(f"{path}: {key}: {error}; delete its line and it runs again") from None


def run_point(
    *,
    key: str,
    run: Mapping[str, Any],
    images: int | None,
    runs: str,
    data: str | None = None,
    progress: Callable[[EpochReport], None] | None = None,
) -> dict[str, Any]:
    """Train one run in its folder below ``runs``, measure its integer network, and say what came out.

    key: of the job, for the folder's name. run: its configuration. images: held-out ones to measure, None for all.
    data: folder of the data set's files. A run that was killed goes on behind its last epoch.

    The result: accuracy (of the model in floating point, on all held-out images), accuracy_integer, activity (SA,
    0..1), sops, membrane and energy (of the integer network, an image) on as many as ``images``, t_avg, t_per_layer,
    collapsed (layers with ``T_l`` = 0), parameters, epochs, seed, train_seconds (wall clock of all epochs, whenever
    they ran).
    """
    mapping = copy.deepcopy(dict(run))
    if data is not None:
        put(mapping, "data.folder", data, key)
    config = from_mapping(mapping)
    folder = Path(runs) / folder_of(key, run)
    with written_aside(folder / "run.yaml") as aside:
        aside.write_text(to_yaml(config))
    history: dict[int, EpochReport] = {}

    def keep(state: EpochReport) -> None:
        history[state.epoch] = state
        if progress is not None:
            progress(state)

    model, report = train_run(config, folder, progress=keep)
    assert isinstance(model, Spikformer)  # as `load` sees to
    checkpoints.save(folder / CHECKPOINT, model, **report.as_dict())
    network = quantize(model, name=config.name)
    where = config.data.folder
    train_set, held_out = (
        datasets.open_images(config.data.name, split, where, size=config.data.size) for split in ("train", "test")
    )
    learned = config.data.train_images or len(train_set.labels)
    return {
        "accuracy": report.accuracy,
        **_measured(network, held_out, images),
        "t_avg": report.t_avg,
        "t_per_layer": report.t_per_layer,
        "collapsed": collapsed(report.t_per_layer),
        "parameters": report.parameters,
        "epochs": config.train.epochs,
        "seed": config.train.seed,
        "train_seconds": round(sum(learned / x.images_per_second for x in history.values()), 1),
    }


def _measured(network: Network, held_out: Images, images: int | None) -> dict[str, Any]:
    """What is measured of the integer network, on as many of the images as wanted, None for all."""
    count = len(held_out.labels)
    numbers = datasets.spread_out(count, min(images or count, count))
    chosen = held_out.batch(numbers)
    work = operations(network, chosen)
    pixels = sum(work[layer.name].unary for layer in network.layers if layer.direct)
    return {
        "accuracy_integer": execute(network, chosen).accuracy(held_out.labels[numbers]),
        "activity": work[TOTAL].activity,
        "sops": work[TOTAL].unary + work[TOTAL].product_unary - pixels,
        "membrane": work[TOTAL].membrane_reads + work[TOTAL].membrane_writes,
        "energy": {x: spiking(network, work, CONSTANTS["paper"], reuse=x)[TOTAL].total for x in SCHEDULES},
        "images": len(numbers),
    }
