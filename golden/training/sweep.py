"""Sweeps: training runs that differ in a few keys.

`load` reads a sweep's file into `Job`s, `golden.training.sweep_point` does one of them, `golden.training.sweep_tables`
lays the results out. Who runs the jobs, and where, is no matter here.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikeloom.common.strict_yaml import mapping_in, override, put
from spikeloom.golden.training.run_config import SECTIONS, RunConfig, from_mapping

PAPER = ("I", "III", "IV")
POINTS = "points"  # the table of what stands in no table of the paper
SECTION = ("grid", "points")
KEYS = ("name", "base", "set", "seeds", "images", *SECTION, "tables", "lines")
MOST_RUNS = 10_000  # of a grid
MEASURED = 1000  # images where a sweep does not say
GROUPS = ("qkv", "attn", "mlp", "sps")  # in the paper's order, so that equal sets are equal runs


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run."""

    key: str
    """Unique and readable."""
    changes: dict[str, Any]
    """Its differences from the base, by dotted key, without the seed and without keys that have no effect."""
    seed: int
    """Of the run."""
    run: RunConfig
    """The whole configuration."""

    def arguments(self, images: int | None) -> dict[str, Any]:
        """Of `run_point`, as JSON: of the configuration what is not a default, so that new keys change nothing."""
        return {"key": self.key, "run": _without_defaults(self.run), "images": images}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Runs, and the tables that they fill."""

    name: str
    """Of its folder."""
    base: RunConfig
    """What the jobs change."""
    images: int | None
    """Held-out ones on which the integer networks are measured, None for all."""
    jobs: tuple[Job, ...]
    """All runs, each once, the first seed of all first, so that there are tables early."""
    tables: dict[str, tuple[str, ...]]
    """Keys of the jobs that each shows."""
    lines: dict[str, tuple[str, ...]]
    """The same of each line of the figure, by what it is called."""

    def arguments(self) -> dict[str, dict[str, Any]]:
        """Arguments of `run_point` by the jobs' keys."""
        return {job.key: job.arguments(self.images) for job in self.jobs}


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Sweep:
    """A sweep's YAML file, with overrides of its base such as ``train.epochs=3``, which win.

    Keys: name; base, the file of a run, seen from this one, or its sections; set, changes of the base by dotted key;
    seeds, a list; images, how many held-out ones to measure, null for all; grid, lists of values by dotted key, all
    combinations; points, a list of values by dotted key; tables, such grids and points by I, III or IV; lines, the
    same by the name of a method, each of which is a line of the figure. A point that changes model.steps and not
    model.initial_steps begins with half of the steps.

    Raises FileNotFoundError; ValueError and TypeError, in one line, with the file and the place.
    """
    path = Path(path)
    given = mapping_in(path, KEYS)
    _only(given, KEYS, str(path))
    name = given.get("name", path.stem)
    mapping = _base(given.get("base", {}), path, name)
    for key, value in _mapping(given.get("set", {}), f"{path}: set").items():
        put(mapping, str(key), value, f"{path}: set")
    for text in overrides:
        override(mapping, text)
    seeds = given.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(type(x) is int for x in seeds):
        raise ValueError(f"{path}: seeds must be a list of integers, not {seeds!r}")
    images = given.get("images", MEASURED)
    if images is not None and (type(images) is not int or images < 1):
        raise ValueError(f"{path}: images must be a positive integer or null, not {images!r}")
    sections = {POINTS: {key: given[key] for key in SECTION if key in given}} if set(given) & set(SECTION) else {}
    for table, section in _mapping(given.get("tables", {}), f"{path}: tables").items():
        if table not in PAPER:
            raise ValueError(f"{path}: tables must be among {', '.join(PAPER)}, not {table!r}")
        sections[table] = _mapping(section, f"{path}: table {table}")
    methods = {
        str(name): _mapping(section, f"{path}: line {name}")
        for name, section in _mapping(given.get("lines", {}), f"{path}: lines").items()
    }
    if not sections and not methods:
        raise ValueError(f"{path} has no grid, no points, no tables and no lines: nothing to run")
    base = from_mapping(mapping)
    if base.architecture != "spikformer":
        raise ValueError(f"{path}: architecture must be spikformer, which has time steps, not {base.architecture!r}")
    jobs: dict[str, Job] = {}

    def keys(section: Mapping[str, Any], where: str) -> tuple[str, ...]:
        made = _jobs(mapping, base, section, seeds, where)
        jobs.update((job.key, job) for job in made)
        return tuple(dict.fromkeys(job.key for job in made))

    where = {POINTS: f"{path}: the points"}
    shown = {name: keys(section, where.get(name, f"{path}: table {name}")) for name, section in sections.items()}
    lines = {name: keys(section, f"{path}: line {name}") for name, section in methods.items()}
    if lines:
        together = itertools.chain(shown.get(POINTS, ()), *lines.values())
        shown[POINTS] = tuple(dict.fromkeys(together))
    in_order = sorted(jobs.values(), key=lambda job: seeds.index(job.seed))
    return Sweep(name=base.name, base=base, images=images, jobs=tuple(in_order), tables=shown, lines=lines)


def _base(given: Any, path: Path, name: str) -> dict[str, Any]:
    if isinstance(given, str):
        given = mapping_in(path.parent / given, SECTIONS)
    mapping = copy.deepcopy(_mapping(given, f"{path}: base"))
    return {**mapping, "name": name}


def _jobs(
    mapping: dict[str, Any], base: RunConfig, section: Mapping[str, Any], seeds: list[int], where: str
) -> list[Job]:
    """The runs of a section, where equal ones have equal keys."""
    found = []
    for point in _points(section, where):
        for seed in seeds:
            try:
                run = _changed(mapping, point, seed)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{where}: {text_of(point)}: {error}") from None
            changes = _effective_changes(run, base)
            key = f"{text_of(changes)}, seed={seed}" if changes else f"seed={seed}"
            found.append(Job(key=key, changes=changes, seed=seed, run=run))
    return found


def _points(section: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The points of a list and of a grid, in the order in which they stand there."""
    _only(section, SECTION, where)
    found: list[dict[str, Any]] = []
    for kind, given in section.items():
        if kind == "points":
            if not isinstance(given, list):
                raise TypeError(f"{where}: points must be a list, not {given!r}")
            found += [_mapping(point, f"{where}: a point") for point in given]
            continue
        grid = _mapping(given, f"{where}: grid")
        for key, values in grid.items():
            if not isinstance(values, list) or not values:
                raise TypeError(f"{where}: grid: {key} must be a list of values, not {values!r}")
        runs = math.prod(map(len, grid.values()))
        if runs > MOST_RUNS:
            raise ValueError(f"{where}: grid: there must be at most {MOST_RUNS:,} points, not {runs:,}")
        found += [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not found:
        raise ValueError(f"{where}: no points and no grid")
    return found


def _changed(mapping: dict[str, Any], point: Mapping[str, Any], seed: int) -> RunConfig:
    changed = copy.deepcopy(mapping)
    if "model.steps" in point and "model.initial_steps" not in point:
        put(changed, "model.initial_steps", None, text_of(point))
    for key, value in {**point, "train.seed": seed}.items():
        put(changed, str(key), value, text_of(point))
    run = from_mapping(changed)
    groups = tuple(group for group in GROUPS if group in run.masks.groups)
    return replace(run, masks=replace(run.masks, groups=groups))


def _mapping(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise TypeError(f"{where} must be keys and values, not {given!r}")
    return given


def _only(given: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in allowed:
            raise ValueError(f"{where}: {key}: unknown key; allowed: {', '.join(allowed)}")


def flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Values by dotted key, in JSON's types."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= flat(item, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = list(item) if isinstance(item, tuple) else item
    return found


def _effective_changes(run: RunConfig, base: RunConfig) -> dict[str, Any]:
    """What a run has otherwise than the base, of the keys that have an effect."""
    values, before = flat(run.as_dict()), flat(base.as_dict())
    idle = {"name", "data.folder", "train.seed"}
    if not values.get("model.dynamic"):
        idle |= {key for key in values if key.startswith("masks.")} | {"model.initial_steps", "model.floor"}
    elif not values["masks.groups"]:
        idle |= {"masks.weight", "masks.cost", "masks.schedule"}
    if not values.get("spikes.weight"):
        idle.add("spikes.cost")
    if isinstance(values.get("masks.groups"), list):  # a set, whose order has no effect
        values["masks.groups"], before["masks.groups"] = sorted(values["masks.groups"]), sorted(before["masks.groups"])
    return {key: value for key, value in values.items() if key not in idle and value != before.get(key)}


def _without_defaults(run: RunConfig) -> dict[str, Any]:
    """The mapping of a configuration without what is default anyway; `from_mapping` makes the same of it."""
    default = flat(RunConfig().as_dict())
    mapping: dict[str, Any] = {}
    for key, value in flat(run.as_dict()).items():
        kept = key in ("name", "architecture", "model.initial_steps")
        if kept or key not in default or value != default[key]:
            put(mapping, key, value, run.name)
    mapping["name"] = "run"
    return mapping if from_mapping(mapping) == from_mapping({**run.as_dict(), "name": "run"}) else run.as_dict()


def text_of(changes: Mapping[str, Any]) -> str:
    """Changes by dotted key, in one line."""
    shown = (f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in changes.items())
    return ", ".join(shown).replace('"', "")
