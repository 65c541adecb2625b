"""The job engine: nothing is lost, nothing runs twice, whatever dies."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from spikeloom.jobs import engine
from spikeloom.jobs.engine import run
from spikeloom.jobs.results import digest_of, opened, read
from support import job_functions

HERE = Path(__file__).parents[1]
SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's shell has it ignored
sys.path.insert(0, {here!r})
from support import job_functions
from spikeloom.jobs.engine import run
if __name__ == "__main__":
    jobs = {{f"n{{i}}": {{"number": i, "log": {log!r}}} for i in range(4)}}
    run(job_functions.slow_square, jobs, {results!r}, workers=2)
"""


def squares(log, numbers=range(4)):
    return {f"n{i}": {"number": i, "log": str(log)} for i in numbers}


def keys(records, status):
    return [key for key, record in records.items() if record.status == status]


def test_results_are_those_of_the_function_and_no_job_runs_twice(tmp_path):
    log, file, seen = tmp_path / "log", tmp_path / "sub" / "results.jsonl", []
    records = run(job_functions.square, squares(log), file, workers=2, progress=seen.append)
    assert {key: x.result for key, x in records.items()} == {f"n{i}": {"square": i * i} for i in range(4)}
    assert list(records) == ["n0", "n1", "n2", "n3"]  # the order of the jobs, not the one in which they ended
    assert [(x.done, x.failed, x.total) for x in seen] == [(i, 0, 4) for i in range(5)]
    assert all(x.host and x.seconds >= 0 for x in records.values())
    assert {json.loads(line)["key"] for line in file.read_text().splitlines()} == set(records)
    seen.clear()
    assert run(job_functions.square, squares(log), file, progress=seen.append) == records
    assert [(x.done, x.total) for x in seen] == [(4, 4)]
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3"]


def test_other_arguments_run_again_and_the_former_ones_are_still_known(tmp_path):
    log, file = tmp_path / "log", tmp_path / "results.jsonl"
    first = run(job_functions.square, {"a": {"number": 3, "log": str(log)}}, file)
    second = run(job_functions.square, {"a": {"number": 4, "log": str(log)}}, file)
    assert (first["a"].result, second["a"].result) == ({"square": 9}, {"square": 16})
    assert run(job_functions.square, {"a": {"number": 3, "log": str(log)}}, file) == first
    assert log.read_text().split() == ["3", "4"]


def test_a_job_whose_worker_dies_is_run_again(tmp_path):
    log = tmp_path / "log"
    jobs = {f"n{i}": {"number": i, "log": str(log), "times": int(i == 1)} for i in range(4)}
    records = run(job_functions.dies, jobs, tmp_path / "results.jsonl", workers=2)
    assert keys(records, "failed") == []
    assert records["n1"].result == {"square": 1, "deaths": 1}
    assert log.read_text().split().count("1") == 2


def test_a_deadly_job_fails_and_takes_no_other_along(tmp_path):
    """Every job shares the one worker with the deadly one, so that Dask suspects each of them."""
    log, file = tmp_path / "log", tmp_path / "results.jsonl"
    jobs = {f"n{i}": {"number": i, "log": str(log), "times": 99 * (i == 0)} for i in range(3)}
    records = run(job_functions.dies, jobs, file, workers=1, retries=0)
    assert keys(records, "done") == ["n1", "n2"]
    assert records["n0"].error == "its worker died each time that it ran"
    assert [x.status for x in read(file)].count("failed") == 1


def test_errors_are_one_line_and_failed_jobs_run_at_the_next_call(tmp_path):
    file, log = tmp_path / "results.jsonl", tmp_path / "log"
    jobs = {how: {"how": how} for how in ("error", "exit", "nan", "set")}
    records = run(job_functions.fails, jobs, file, workers=1)
    assert keys(records, "failed") == list(jobs)
    assert records["error"].error == "ValueError: no good"
    assert records["exit"].error == "SystemExit: leaving"
    assert records["nan"].error.startswith("TypeError: the result is not JSON: Out of range float values")
    assert records["set"].error.startswith("TypeError: the result is not JSON: Object of type set")
    before = len(read(file))
    again = run(job_functions.fails, {"error": jobs["error"]}, file, workers=1)
    assert again["error"].error == "ValueError: no good" and len(read(file)) == before + 1
    assert not log.exists()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on(tmp_path, sent):
    """SIGKILL hits the process alone, SIGINT all of its group, as a terminal's Ctrl-C does."""
    log, file = tmp_path / "log", tmp_path / "results.jsonl"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(HERE), log=str(log), results=str(file)))
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(read(file)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    (os.kill if sent == signal.SIGKILL else os.killpg)(process.pid, sent)
    process.wait(30)
    while _alive(process.pid):  # its workers end with it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with file.open("a") as torn:  # as if it had been killed while it wrote
        torn.write('{"key": "n2", "dig')
    jobs = squares(log)
    records = run(job_functions.square, jobs, file, workers=1)
    assert keys(records, "done") == list(jobs)
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3"]
    assert len(file.read_text().splitlines()) == 4


def _alive(session):
    """Whether any process of a session is there, zombies aside."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, found = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(found) == session and state != "Z":
            return True
    return False


def test_a_schedulers_workers_do_the_jobs(tmp_path):
    options = dict(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50)
    log, file = tmp_path / "log", tmp_path / "results.jsonl"
    with LocalCluster(**options) as cluster:
        records = run(job_functions.square, squares(log), file, scheduler=cluster.scheduler_address)
        assert keys(records, "done") == list(records) and len(records) == 4
        assert cluster.scheduler_info["workers"]  # it is not ours to stop


def test_without_a_scheduler_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "ANSWER", 0.5)
    with pytest.raises(ConnectionError, match="^no scheduler answers at tcp://127.0.0.1:9; start one with"):
        run(job_functions.square, squares(tmp_path), tmp_path / "results", scheduler="tcp://127.0.0.1:9")


WRONG = [
    (dict(scheduler="localhost"), "the scheduler must be an address like tcp://10.0.0.1:8786, not 'localhost'"),
    (dict(workers=0), "workers must be positive, not 0"),
    (dict(workers=1, scheduler="tcp://h:1"), "workers are for local processes; a cluster has its own"),
    (dict(retries=-1), "retries must not be negative, not -1"),
]


@pytest.mark.parametrize("options,message", WRONG)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(job_functions.square, squares(tmp_path), tmp_path / "results", **options)


def test_arguments_that_json_lacks_are_refused(tmp_path):
    with pytest.raises(TypeError, match="Path is not JSON serializable"):
        run(job_functions.square, {"a": {"number": tmp_path}}, tmp_path / "results")


def test_a_damaged_line_is_named(tmp_path):
    file = tmp_path / "results.jsonl"
    run(job_functions.square, {"a": {"number": 1}}, file)
    file.write_text("{}\n" + file.read_text())
    with pytest.raises(ValueError, match="results.jsonl, line 1: no record of a job; delete it"):
        run(job_functions.square, {"a": {"number": 1}}, file)


def test_two_runs_do_not_write_to_one_file(tmp_path):
    file = tmp_path / "results.jsonl"
    with opened(file), pytest.raises(BlockingIOError, match=f"^another run is writing to {file}; wait for it"):
        run(job_functions.square, {"a": {"number": 1}}, file)


def test_digests_do_not_depend_on_the_order_of_arguments():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1}) != digest_of({"a": 1, "b": [2, 1]})


def test_an_interrupt_while_workers_start_is_one_exception(tmp_path):
    """A terminal sends Ctrl-C to every process: none of ours hears it, or says a word, but the first."""
    script, said = tmp_path / "script.py", tmp_path / "said"
    script.write_text(SCRIPT.format(here=str(HERE), log=str(tmp_path / "log"), results=str(tmp_path / "results.jsonl")))
    with open(said, "w") as file:
        process = subprocess.Popen([sys.executable, script], stdout=file, stderr=file, start_new_session=True)
    try:
        while not (workers := _workers(process.pid)):
            assert process.poll() is None
            time.sleep(0.02)
        blocked = [int(line.split()[1], 16) for x in workers for line in x.splitlines() if line.startswith("SigBlk:")]
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert blocked and all(mask >> signal.SIGINT - 1 & 1 for mask in blocked)
    out = said.read_text()
    assert out.count("Traceback") == 1 and out.strip().endswith("KeyboardInterrupt"), out


def _workers(session):
    """What the system says of the processes that a session's process has spawned for Python functions."""
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdecimal() and os.getsid(int(place.name)) == session:
                if b"spawn_main" in (place / "cmdline").read_bytes():
                    found.append((place / "status").read_text())
    return found


def test_no_loopback_is_said_at_once(tmp_path, monkeypatch):
    def refused(*arguments, **more):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(engine.socket, "create_connection", refused)
    with pytest.raises(ConnectionError, match=r"cannot talk .* \(Network is unreachable\): bring the loop"):
        run(job_functions.square, squares(tmp_path / "log"), tmp_path / "results.jsonl")
