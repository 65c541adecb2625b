"""Run jobs on Dask, keep each result as soon as it is there, and run nothing twice."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from spikeloom.jobs.results import Arguments, Record, ResultsFile, digest_of, opened, read

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

ANSWER = 10  # seconds in which a scheduler must answer
LOOK = 0.05  # seconds between looks at what has ended
PATIENCE = 20  # seconds in which a local worker that died must be back
ALONE = 2  # times that a suspect runs on its own: a busy machine may lose a worker for reasons of its own
LOOPBACK = "127.0.0.1"
ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+:\d+")

Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The state of a run."""

    done: int
    """Jobs that ended well, those of former runs among them."""
    failed: int
    """Jobs that failed, those of former runs among them."""
    total: int
    """All jobs."""
    last: Record | None = None
    """The job that ended now; None at the start."""


def run(
    function: Function,
    jobs: Mapping[str, Arguments],
    results: str | os.PathLike[str],
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    retries: int = 1,
    progress: Callable[[Tally], None] | None = None,
) -> dict[str, Record]:
    """Call ``function(**arguments)`` for each job, in processes of their own; the records, in the jobs' order.

    function: of a module that the workers can import; takes and returns what JSON has. jobs: arguments by key.
    results: the file that keeps each job's record from the moment it ends. A job that is done there, with equal
    arguments, is not run again; one that failed is. scheduler: address of a Dask scheduler such as
    ``tcp://10.0.0.1:8786``; None starts local processes. workers: how many, the processor cores when None; of a
    cluster, all that it has. retries: how often a job is run again whose worker died; a cluster's scheduler has
    its own setting. progress: called at the start and after each job.

    An exception in a job makes it a failed one, with one line that says why; so does a job that ends its
    worker again and again. Dask suspects every job that a dying worker held, hence such jobs are tried again, one at
    a time, before they count as failed. Whatever stops this process, the jobs that ended are in the file.

    Raises
    ------
    ConnectionError
        where no scheduler answers.
    BlockingIOError
        where another run writes to the same file.
    ValueError, TypeError
        for a file that is damaged, an address that is none, arguments that are not JSON's.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be positive, not {workers!r}")
    if workers is not None and scheduler is not None:
        raise ValueError("workers are for local processes; a cluster has its own")
    if retries < 0:
        raise ValueError(f"retries must not be negative, not {retries!r}")
    digests = {key: digest_of(arguments) for key, arguments in jobs.items()}
    with opened(results) as file:
        finished = {(x.key, x.digest): x for x in read(results) if x.done}
        found = {key: finished[key, digests[key]] for key in jobs if (key, digests[key]) in finished}
        waiting = [key for key in jobs if key not in found]
        if progress is not None:
            progress(Tally(done=len(found), failed=0, total=len(jobs)))
        if waiting:

            def connect(count: int) -> AbstractContextManager[Client]:
                return _client(scheduler, min(workers or _cores(), count), retries)

            for record in _ended(connect, function, {key: jobs[key] for key in waiting}, digests):
                _keep(file, found, record)
                if progress is not None:
                    done = sum(x.done for x in found.values())
                    progress(Tally(done=done, failed=len(found) - done, total=len(jobs), last=record))
    return {key: found[key] for key in jobs}


def _keep(file: ResultsFile, found: dict[str, Record], record: Record) -> None:
    file.append(record)
    found[record.key] = record


def _ended(
    connect: Callable[[int], AbstractContextManager[Client]],
    function: Function,
    jobs: Mapping[str, Arguments],
    digests: Mapping[str, str],
) -> Iterator[Record]:
    """Records of the jobs as they end; those that lost their workers alone at last, one after the other.

    connect: to a scheduler with at most so many workers. Jobs that are left by workers who do not come back get new
    ones.
    """
    waiting, suspects = list(jobs), []
    while waiting:
        left = set(waiting)
        with connect(len(waiting)) as client:
            for key, outcome in _outcomes(client, function, jobs, waiting):
                left.discard(key)
                if outcome is None:
                    suspects.append(key)
                else:
                    yield _record(key, jobs[key], digests[key], outcome)
        if len(left) == len(waiting):
            suspects += waiting
            break
        waiting = [key for key in waiting if key in left]
    for key in suspects:
        alone: dict[str, Any] | None = None
        for _ in range(ALONE):
            if alone is None:
                with connect(1) as client:
                    alone = dict(_outcomes(client, function, jobs, [key])).get(key)
        yield _record(key, jobs[key], digests[key], alone or {"error": "its worker died each time that it ran"})


def _record(key: str, arguments: Arguments, digest: str, outcome: dict[str, Any]) -> Record:
    status: Any = "failed" if "error" in outcome else "done"
    return Record(key=key, digest=digest, status=status, arguments=dict(arguments), **outcome)


def _outcomes(
    client: Client, function: Function, jobs: Mapping[str, Arguments], keys: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Keys with what `_call` returned, as the jobs end; None where Dask gave up since workers died.

    Ends early where local workers have died and none has come back.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker, as_completed

    futures = {client.submit(_call, function, dict(jobs[key]), pure=False): key for key in keys}
    completed = as_completed(list(futures), loop=client.loop)  # type: ignore[no-untyped-call]
    seen = time.monotonic()  # when there was a worker
    try:
        while futures:
            if not completed.has_ready():  # type: ignore[no-untyped-call]
                time.sleep(LOOK)
                if client.cluster is None or client.cluster.scheduler.workers:
                    seen = time.monotonic()
                elif time.monotonic() - seen > PATIENCE:
                    return
                continue
            for future in completed.next_batch(block=False):  # type: ignore[no-untyped-call]
                key = futures.pop(future)
                error = future.exception()
                if isinstance(error, CancelledError):  # nobody here cancels a job that is awaited
                    raise ConnectionError("the scheduler is gone; what was done is kept, the same command goes on")
                if error is None:
                    yield key, future.result()
                else:
                    yield key, None if isinstance(error, KilledWorker) else {"error": _line(error)}
                future.release()
    finally:
        client.cancel(list(futures), force=True)  # type: ignore[no-untyped-call]


def _call(function: Function, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a job, in a worker. Errors become a line here: not every exception survives its way to the client."""
    begin = time.monotonic()
    outcome: dict[str, Any]
    try:
        outcome = {"result": _as_json(function(**arguments))}
    except (Exception, SystemExit) as error:
        outcome = {"error": _line(error)}
    return {**outcome, "seconds": round(time.monotonic() - begin, 3), "host": socket.gethostname()}


def _as_json(result: Any) -> Any:
    try:
        return json.loads(json.dumps(result, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the result is not JSON: {error}") from None


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _client(scheduler: str | None, workers: int, retries: int) -> Iterator[Client]:
    """A client of the scheduler at an address, or of local processes that end with the block."""
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None and not ADDRESS.fullmatch(scheduler):
        raise ValueError(f"the scheduler must be an address like tcp://10.0.0.1:8786, not {scheduler!r}")
    with ExitStack() as stack:
        if scheduler is None:
            stack.enter_context(dask.config.set(_local(retries)))
            stack.enter_context(_quiet())
            options: dict[str, Any] = dict(processes=True, n_workers=workers, threads_per_worker=1, memory_limit=0)
            options |= dict(dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL)  # any free port
            _check_loopback()
            with _interrupts_waiting():
                cluster = LocalCluster(**options)  # type: ignore[no-untyped-call]
            stack.callback(_closed, cluster)
            yield stack.enter_context(Client(cluster, set_as_default=False))  # type: ignore[no-untyped-call]
            return
        try:
            client = Client(scheduler, timeout=ANSWER, set_as_default=False)  # type: ignore[no-untyped-call]
        except OSError:
            raise ConnectionError(
                f"no scheduler answers at {scheduler}; start one with `dask scheduler`, "
                f"and its workers with `dask worker {scheduler}`"
            ) from None
        yield stack.enter_context(client)


def _check_loopback() -> None:
    """ConnectionError where local processes cannot reach each other: Dask would wait for them in silence."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            socket.create_connection(server.getsockname(), timeout=ANSWER).close()
    except OSError as error:
        raise ConnectionError(
            f"local processes cannot talk to each other on {LOOPBACK} ({error.strerror or error}): "
            "bring the loopback interface up, as with `ip link set lo up`"
        ) from None


@contextmanager
def _interrupts_waiting() -> Iterator[None]:
    """Ctrl-C waits until the block ends, and never reaches what the threads and processes started in it start:
    a terminal sends it to all of them, and each would print a traceback. This process ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # which would let Ctrl-C through again in the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _closed(cluster: LocalCluster) -> None:
    """End the local processes, whatever state they are in: all that matters is in the file of results."""
    with suppress(Exception):
        cluster.close(timeout=ANSWER)


def _local(retries: int) -> dict[str, Any]:
    """Settings of local processes: one job at a time each, one thread, no patience with deadly jobs, all of it with
    a machine that is too busy to answer: whether a process lives, its nanny knows without asking.
    """
    return {
        "distributed.comm.timeouts.connect": "300s",
        "distributed.scheduler.worker-ttl": None,
        "distributed.scheduler.allowed-failures": retries,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1,
        "distributed.nanny.pre-spawn-environ.OMP_WAIT_POLICY": "passive",
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """No logs of Dask: what they tell of dying workers is in the records. No warning of a busy disk either."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Creating scratch directories")
            yield
    finally:
        logger.setLevel(before)
