"""Runs tests against a program with one line changed: whether they see it.

`survivors` starts one process, which imports the heavy libraries once and forks for each mutant; the child imports the
project anew, with the mutant's text in place of the original, and runs the mutant's tests. Nothing is written.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FAILED = 1  # pytest's exit code


@dataclass(frozen=True)
class Mutant:
    path: str
    """Of the source, from the root."""
    old: str
    """Text that is in it once."""
    new: str
    """What takes its place."""
    test: str
    """What must fail then: a file of tests or one test of it."""

    def __str__(self) -> str:
        return f"{self.path}: {self.old!r} -> {self.new!r}"

    def text(self) -> str:
        """The changed source. ValueError where the old text is not in the file once."""
        source = (ROOT / self.path).read_text()
        if source.count(self.old) != 1:
            raise ValueError(
                f"{self.path} has {source.count(self.old)} times {self.old!r}: name a text that it has once"
            )
        return source.replace(self.old, self.new)


def survivors(mutants: list[Mutant]) -> list[str]:
    """A line for each mutant that its tests do not see, or whose tests cannot be run."""
    for mutant in mutants:
        mutant.text()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "support.mutants"]
    done = subprocess.run(
        line, cwd=ROOT, env=environment, input=json.dumps([asdict(x) for x in mutants]), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the process of the mutants ended with {done.returncode}: {done.stderr[-2000:]}")
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another text."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = "spikeloom." + mutant.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.path, self.text = ROOT / "spikeloom" / mutant.path, mutant.text()

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)


def _outcome(mutant: Mutant) -> int:
    """The exit code of pytest in a child of this process."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        import pytest

        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        for name in [x for x in sys.modules if x.partition(".")[0] == "spikeloom"]:
            del sys.modules[name]
        sys.meta_path.insert(0, _Changed(mutant))
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", mutant.test]))
    finally:
        os._exit(code)


def _main() -> None:
    for name in ("torch", "numpy", "amaranth.sim", "pytest", "sklearn.datasets", "typer", "rich", "yaml"):
        importlib.import_module(name)
    found = []
    for given in json.load(sys.stdin):
        mutant = Mutant(**given)
        code = _outcome(mutant)
        if code != FAILED:
            found.append(f"{mutant} {'survives' if code == 0 else f'ends pytest with {code} in'} {mutant.test}")
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
