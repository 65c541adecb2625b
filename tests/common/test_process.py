"""Programs run to their end, are killed with their children, and their failure is one line."""

import os
import sys
import threading
import time

import pytest

from spikeloom.common import process
from spikeloom.common.process import ToolError, find_tool, run


class OwnError(ToolError):
    pass


def shell(text, folder, **more):
    return run(["sh", "-c", text], folder=folder, **more)


def alive(pid):
    """Whether a process still does something; a killed one may wait for its parent for a while."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pid):
    for _ in range(500):
        if not alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_lines_of_both_outputs(tmp_path):
    seen = []
    said = shell("pwd; printf 'a\\rb\\n'; printf '\\033[31mred\\033[0m' >&2", tmp_path, on_line=seen.append)
    assert said == seen == [str(tmp_path), "a", "b", "red"]


def test_environment(tmp_path):
    assert shell("echo $THING", tmp_path, environment=os.environ | {"THING": "x"}) == ["x"]


def test_failure_is_one_line_of_the_errors(tmp_path):
    script = "echo begin; for i in 1 2 3 4 5 6 7; do echo Error: number $i; done; echo end; exit 3"
    with pytest.raises(OwnError) as raised:
        shell(script, tmp_path, error=OwnError)
    reason = " / ".join(f"Error: number {i}" for i in range(3, 8))
    assert str(raised.value) == f"sh failed: {reason}"
    assert raised.value.status == 3 and raised.value.lines[0] == "begin"
    with pytest.raises(ToolError, match="sh failed: last words"):
        shell("echo last words; false", tmp_path)
    with pytest.raises(ToolError, match="nothing was said, exit status 2"):
        shell("exit 2", tmp_path)


def test_a_full_disk_is_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "disk_is_full", lambda folder: True)
    with pytest.raises(ToolError, match="sh failed: no space left on the disk"):
        shell("echo ERROR: a riddle; exit 1", tmp_path)


@pytest.mark.parametrize("how", ["line", "tick", "stop"])
def test_interrupted_with_its_children(how, tmp_path):
    """An exception of a callback, or the event, kills the program and what it started."""
    script = "sleep 100 & echo $! > child; echo $$ > parent; echo ready; wait"
    stop, error = threading.Event(), KeyboardInterrupt if how != "stop" else ToolError

    def interrupt(*line):
        if (tmp_path / "parent").exists():
            if how == "stop":
                return stop.set()
            raise KeyboardInterrupt

    called = {"line": {"on_line": interrupt}, "tick": {"on_tick": interrupt}, "stop": {"on_tick": interrupt}}
    with pytest.raises(error):
        shell(script, tmp_path, stop=stop, **called[how])
    for name in ("child", "parent"):
        assert gone(int((tmp_path / name).read_text()))


def test_a_child_that_stays_does_not_hold_us(tmp_path):
    """Nor does it outlive its program."""
    begin = time.monotonic()
    (said,) = shell("sleep 100 & echo $!", tmp_path)
    assert time.monotonic() - begin < 50 and gone(int(said))


def test_ticks_until_the_end(tmp_path):
    """Also of a program that has closed its output."""
    seen = []
    shell(
        "exec >&- 2>&-; sleep 0.3; echo x > file", tmp_path, on_tick=lambda: seen.append((tmp_path / "file").exists())
    )
    assert seen[0] is False and seen[-1] is True


def test_missing_programs(tmp_path):
    with pytest.raises(OwnError, match="^no-such-tool is not installed: apt install it$"):
        find_tool("no-such-tool", install="apt install it", error=OwnError)
    assert find_tool("sh", install="").endswith("/sh")
    with pytest.raises(OwnError, match="no-such-tool cannot be started: No such file"):
        run(["no-such-tool"], folder=tmp_path, error=OwnError)


def test_a_polite_end_is_an_interrupt(tmp_path):
    """SIGTERM reaches what runs below a process that asked for it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from spikeloom.common.process import end_like_interrupt, run\n"
        "end_like_interrupt()\n"
        "try:\n"
        "    run(['sh', '-c', 'echo $$ > child; sleep 100'], folder='.')\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    child, asked = tmp_path / "child", []

    def end():
        if not asked and child.exists() and child.read_text().strip():
            asked.append(True)
            os.kill(int((tmp_path / "parent").read_text()), 15)

    said = run(
        ["sh", "-c", "echo $$ > parent; exec \"$0\" script.py", sys.executable], folder=tmp_path, on_tick=end,
        environment=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert said[-1] == "interrupted" and gone(int(child.read_text()))
