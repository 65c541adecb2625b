"""Place and route in a process of its own, beside the simulation."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spikeloom.common.progress import Progress
from spikeloom.flow.bitstream import build_record
from spikeloom.flow.errors import user_message

END_SECONDS = 10


class BuildFailed(RuntimeError):
    """The build in the background did not end well; one line."""


@contextlib.contextmanager
def building(progress: Progress, **arguments: Any) -> Iterator[Callable[[], dict[str, Any]]]:
    """Start `gen.build`; gives a function that waits for its record. Leaving the block early stops the tools.

    arguments: verilog (path), config (fields of `CoreConfig`), board, clock_hz or None, folder and seed.
    """
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    process = context.Process(target=_build, args=(messages, arguments))
    process.start()
    result: dict[str, Any] = {}

    def listen() -> None:
        while True:
            try:
                kind, value = messages.get(timeout=1)
            except Exception:  # empty, or the queue is gone
                if process.is_alive():
                    continue
                result.setdefault("error", "the build ended without a word")
                return
            if kind != "progress":
                result[kind] = value
                return
            progress(*value)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()

    def wait() -> dict[str, Any]:
        while listener.is_alive():
            listener.join(timeout=0.5)
        process.join()
        if "error" in result:
            raise BuildFailed(result["error"])
        return result["record"]  # type: ignore[no-any-return]

    try:
        yield wait
    finally:
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGINT)  # it ends the tools, then itself
            process.join(END_SECONDS)
        if process.is_alive():
            process.kill()


def _build(messages: Any, arguments: dict[str, Any]) -> None:
    """The process: messages are ("progress", (done, total, stage)), then ("record", dict) or ("error", line)."""
    from dataclasses import replace

    from spikeloom.gen.targets import target
    from spikeloom.gen.toolchain.build import build
    from spikeloom.rtl.core.config import CoreConfig

    try:
        board = target(arguments["board"])
        if arguments["clock_hz"] is not None:
            board = replace(board, clock_hz=arguments["clock_hz"])
        report = build(
            Path(arguments["verilog"]).read_text(),
            CoreConfig(**arguments["config"]),
            board,
            arguments["folder"],
            seed=arguments["seed"],
            progress=lambda *done: messages.put(("progress", done)),
        )
        messages.put(("record", build_record(report)))
    except KeyboardInterrupt:
        return
    except Exception as error:
        line = user_message(error)
        if line is None:
            traceback.print_exc()
        messages.put(("error", line or f"a bug: {error!r}"))
