"""How far the tools are, from what they print."""

from __future__ import annotations

import re
from collections.abc import Callable

from spikeloom.common.progress import Progress

WHOLE = 100
"""What a `Progress` of a build counts up to."""

# What a line says about the work done, in order.
_STAGES = [
    (re.compile(r"Executing RTLIL frontend"), "synthesis", 10),
    (re.compile(r"Executing SYNTH_(ECP5|LATTICE)"), "synthesis", 15),
    (re.compile(r"Executing MEMORY_LIBMAP"), "synthesis", 20),
    (re.compile(r"Executing ABC9?_OPS|Executing ABC9? "), "synthesis", 25),
    (re.compile(r"Executing AUTONAME"), "synthesis", 35),
    (re.compile(r"Info: Packing"), "placement", 40),
    (re.compile(r"Info: Running simulated|Info: Running main analytical"), "placement", 50),
    (re.compile(r"Info: Routing"), "routing", 75),
    (re.compile(r"Info: Running router2|Info: Setting up routing"), "routing", 80),
    (re.compile(r"Info: Program finished normally"), "packing", 95),
]


def stage_reader(progress: Progress) -> Callable[[str], None]:
    """A function for each line that the tools print; calls `progress`, of `WHOLE`, where a stage begins."""
    ahead = list(_STAGES)

    def read(line: str) -> None:
        for index, (pattern, stage, done) in enumerate(ahead):
            if pattern.search(line):
                progress(done, WHOLE, stage)
                del ahead[: index + 1]
                return

    return read
