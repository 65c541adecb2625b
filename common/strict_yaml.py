"""YAML as configurations are written in it, read without its traps: no key twice, no alias, 1e-3 is a number."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from spikeloom.common.schema import reading

_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")  # YAML 1.1 takes 1e-3 for a word


def mapping_in(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, Any]:
    """The keys and values in a YAML file, none where it is empty. names: of what it may hold, for the message.

    Raises FileNotFoundError; ValueError for no valid YAML, TypeError for anything but keys and values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with reading(path):
        given = parsed(path.read_text(encoding="utf-8"), str(path))
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise TypeError(f"{path} must hold keys and values ({', '.join(names)}), not {given!r}")
    return given


def parsed(text: str, where: str) -> Any:
    """What a YAML text holds. ValueError, in one line, with ``where`` it stands."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        """Takes 1e-3 for a number, as YAML 1.2 does, and refuses what SafeLoader overlooks: a key that comes twice, and
        aliases, of which few letters make more than a memory holds.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                refused = f"the alias *{event.anchor} is not taken: write it out"
                raise yaml.composer.ComposerError(None, None, refused, event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [key for i, key in enumerate(keys) if key in keys[:i]]
            if twice:
                again = f"the key {twice[0]!r} comes twice, again in line {node.start_mark.line + 1}"
                raise yaml.constructor.ConstructorError(None, None, again, node.start_mark)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    try:
        with reading(where):
            return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{where}{line}: no valid YAML: {problem}") from None
    except ValueError as error:  # a date that is none, or a number of more digits than Python takes
        raise ValueError(str(error) if str(error).startswith(where) else f"{where}: no valid YAML: {error}") from None


def override(given: dict[str, Any], text: str) -> None:
    """Change nested mappings as ``section.key=value`` says. ValueError for another form."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ValueError(f"--set must be KEY=VALUE, as in train.epochs=3, not {text!r}")
    put(given, path.strip(), parsed(value, f"--set {path}"), f"{text!r}")


def put(given: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Change a value of nested mappings by its dotted key.

    ValueError, with ``where`` it is wanted, for a key below a value that is no mapping.
    """
    *keys, last = path.split(".")
    for i, key in enumerate(keys):
        given = given.setdefault(key, {})
        if not isinstance(given, dict):
            raise ValueError(f"{'.'.join(keys[: i + 1])} has no keys of its own: {where}")
    given[last] = value
