"""One at a time in a folder, and who it is."""

import os
import re
import socket
import subprocess
import sys

import pytest

from spikeloom.common.lock import InUseError, folder_lock


def test_the_second_is_refused_and_told_who(tmp_path):
    with folder_lock(tmp_path / "new", "build"):
        holder = re.escape(f"by process {os.getpid()} on {socket.gethostname()} (build, since ")
        with pytest.raises(InUseError, match=f"is in use {holder}.*wait for it or choose another folder"):
            with folder_lock(tmp_path / "new", "build"):
                pass
    with folder_lock(tmp_path / "new", "train"):
        pass


def test_it_ends_with_its_process(tmp_path):
    script = (
        "import sys; from spikeloom.common.lock import folder_lock\n"
        "with folder_lock('.', 'build'):\n    print('ready', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    holder = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"ready\n"
    with pytest.raises(InUseError, match=f"process {holder.pid} "), folder_lock(tmp_path, "build"):
        pass
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with folder_lock(tmp_path, "build"):
        pass
