"""Tables of a sweep's results, laid out as those of the paper.

Source: Datta, Liu, Li, Beerel, *Dynamic SpikFormer* (arXiv 2311.16456), tables I, III and IV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import Any

from spikeloom.golden.training.sweep import POINTS, Job, Sweep, flat, text_of

Results = Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as text and as numbers."""

    name: str
    """I, III, IV or points."""
    title: str
    """Above it."""
    columns: list[str]
    """Their heads."""
    rows: list[list[str]]
    """Of cells, as text."""
    records: list[dict[str, Any]]
    """The same by column, as numbers."""


TITLES = {
    "I": "Table I: accuracy against time steps",
    "III": "Table III: layers that the mask loss covers",
    "IV": "Table IV: initial and maximum time steps, weight of the mask loss",
    POINTS: "Points",
}


MEANING = """Accuracy: of the trained model on all held-out images. Integer, SA, SOPs: of its 8-bit network on {images}
of them, evenly spaced. TS: mean of T_l. SA: spikes a neuron and step of T_max, masked steps have none. SOPs:
accumulates an image that spikes cause, without the layer that reads pixels. Membrane: words of potentials read and
written. Cycles: of the core, estimated on a few images. uJ: energy with the paper's constants, weight-stationary.
T_l = 0: layers without steps. ±: sample standard deviation over the seeds."""


def tables(sweep: Sweep, results: Results, which: Iterable[str] | None = None) -> list[Table]:
    """The tables of what there is so far. results: of `run_point` by job, None or missing where there is none.

    which: I, III, IV or points; None for those that the file asks for. A table for which the file has no section
    shows every job that it can.
    """
    wanted = list(which) if which is not None else sweep.tables
    return [_table(name, sweep, results) for name in wanted]


def _table(name: str, sweep: Sweep, results: Results) -> Table:
    by_key = {job.key: job for job in sweep.jobs}
    named = [by_key[key] for key in sweep.tables.get(name, ())]
    jobs = named or [job for job in sweep.jobs if name not in ("III", "IV") or _dynamic(job)]
    points: dict[str, list[Job]] = {}
    for job in jobs:
        points.setdefault(text_of(job.changes), []).append(job)
    varied = list(dict.fromkeys(key for job in jobs for key in job.changes))
    labels = _labels(name, varied)
    records, rows = [], []
    for same in points.values():
        found = [result for job in same if (result := results.get(job.key)) is not None]
        record = {label: value(same[0]) for label, value in labels.items()} | _summary(found, len(same))
        records.append(record)
        rows.append([_cell(record[label]) for label in labels] + _cells(found, len(same)))
    measured = ["accuracy %", "integer %", "TS", "SA %", "SOPs M", "membrane k", "cycles k", "uJ", "T_l = 0", "seeds"]
    return Table(name=name, title=TITLES[name], columns=[*labels, *measured], rows=rows, records=records)


def _labels(name: str, varied: list[str]) -> dict[str, Callable[[Job], Any]]:
    """Columns that say what a run is, with how to find it."""
    if name == "I":
        return {"time steps": _steps_of}
    if name == "III":
        return {"mask loss on": lambda job: ", ".join(job.run.masks.groups) or "none"}
    if name == "IV":
        return {
            "initial": partial(_value, "model.initial_steps"),
            "max": partial(_value, "model.steps"),
            "weight": lambda job: job.run.masks.weight,
        }
    return {key: partial(_value, key) for key in varied} or {"run": lambda job: "base"}


def _value(key: str, job: Job) -> Any:
    return flat(job.run.as_dict()).get(key)


def _steps_of(job: Job) -> str:
    steps = _value("model.steps", job)
    if not _dynamic(job):
        return f"{steps}"
    return f"dynamic, {_value('model.initial_steps', job)} of {steps}, weight {job.run.masks.weight:g}"


def _dynamic(job: Job) -> bool:
    return bool(_value("model.dynamic", job))


def _summary(found: list[Mapping[str, Any]], seeds: int) -> dict[str, Any]:
    """Means and sample standard deviations over the seeds."""
    record: dict[str, Any] = {"seeds_done": len(found), "seeds": seeds}
    for key in ("accuracy", "accuracy_integer", "t_avg", "activity", "sops", "membrane", "cycles", "train_seconds"):
        values = [float(x[key]) for x in found if x.get(key) is not None]
        record[key] = fmean(values) if values else None
        record[f"{key}_spread"] = stdev(values) if len(values) > 1 else None
    record["collapsed"] = sorted({name for x in found for name in x["collapsed"]})
    return record


def _cells(found: list[Mapping[str, Any]], seeds: int) -> list[str]:
    cells = [
        _spread([100 * x["accuracy"] for x in found], 2),
        _spread([100 * x["accuracy_integer"] for x in found], 2),
        _spread([x["t_avg"] for x in found], 2),
        _spread([100 * x["activity"] for x in found], 2),
        _spread([x["sops"] / 1e6 for x in found], 3),
        _spread([x["membrane"] / 1e3 for x in found if x.get("membrane") is not None], 1),
        _spread([x["cycles"] / 1e3 for x in found if x.get("cycles") is not None], 1),
        _spread([x["energy"]["stationary"] / 1e6 for x in found if x.get("energy")], 2),
    ]
    silent = sorted({len(x["collapsed"]) for x in found})
    cells.append("-" if not silent else "-".join(map(str, dict.fromkeys((silent[0], silent[-1])))))
    return [*cells, f"{len(found)}" if len(found) == seeds else f"{len(found)} of {seeds}"]


def _spread(values: list[float], digits: int) -> str:
    """Mean, and standard deviation where there is more than one value."""
    if not values:
        return "-"
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def report(sweep: Sweep, results: Results, failures: Mapping[str, str], command: str) -> str:
    """The sweep's page, in Markdown: tables, what the columns mean, all runs. failures: errors by job."""
    base = sweep.base
    images = "all" if sweep.images is None else f"at most {sweep.images:,}"
    lines = [
        f"# Sweep {sweep.name}",
        "",
        f"    {command}",
        "",
        f"{base.data.name}, {base.train.epochs} epochs unless a row says otherwise.",
        MEANING.format(images=images),
        "",
    ]
    for table in tables(sweep, results):
        lines += [f"## {table.title}", "", *markdown(table.columns, table.rows), ""]
    if failures:
        lines += ["## Failed", "", *(f"* {key}: {error}" for key, error in failures.items()), ""]
    columns = ["run", "accuracy %", "T_avg", "seconds", "layers with T_l = 0"]
    rows = [
        [
            job.key,
            f"{100 * x['accuracy']:.2f}",
            f"{x['t_avg']:.2f}",
            f"{x['train_seconds']:.0f}",
            ", ".join(x["collapsed"]) or "none",
        ]
        for job in sweep.jobs
        if (x := results.get(job.key)) is not None
    ]
    return "\n".join([*lines, "## Runs", "", *markdown(columns, rows), ""])


def markdown(columns: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(x)} |" for x in (columns, ["---"] * len(columns), *rows)]


def as_csv(sweep: Sweep, results: Results) -> str:
    """A row a run that is done: its changes, its seed, and what came out."""
    keys = list(dict.fromkeys(key for job in sweep.jobs for key in job.changes))
    outcome = ["accuracy", "accuracy_integer", "t_avg", "activity", "sops", "membrane", "cycles", "energy"]
    outcome += ["images", "parameters", "epochs"]
    outcome += ["train_seconds", "collapsed", "t_per_layer"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "seed", *outcome])
    for job in sweep.jobs:
        x = results.get(job.key)
        if x is None:
            continue
        values = flat(job.run.as_dict())
        found = {**x, "collapsed": " ".join(x["collapsed"])}
        found["energy"] = " ".join(f"{name}={pj:.0f}" for name, pj in (x.get("energy") or {}).items())
        found["t_per_layer"] = " ".join(f"{name}={steps}" for name, steps in x["t_per_layer"].items())
        writer.writerow([*(_cell(values.get(key)) for key in keys), job.seed, *(found.get(key) for key in outcome)])
    return text.getvalue()
