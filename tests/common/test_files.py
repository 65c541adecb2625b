"""Files that are whole or not there; folders that cannot be written are found before the work."""

import errno
import hashlib
import os

import pytest

from spikeloom.common.files import (
    data_hash,
    disk_is_full,
    file_hash,
    writable_file,
    writable_folder,
    write_text,
    written_aside,
)


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "new" / "file"
    write_text(path, "one")
    with pytest.raises(RuntimeError, match="half"), written_aside(path) as aside:
        aside.write_text("tw")
        raise RuntimeError("half")
    with written_aside(path) as aside:
        aside.chmod(0o700)
    assert path.stat().st_mode & 0o700 == 0o700
    write_text(path, "one")
    assert path.read_text() == "one" and os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), RuntimeError("I/O error: No space left on device")])
def test_a_full_disk_is_named_with_the_file(error, tmp_path):
    """Whoever says so: the operating system, or a library in its own words."""
    with pytest.raises(OSError, match="no space left on its disk") as raised, written_aside(tmp_path / "file"):
        raise error
    assert raised.value.filename == str(tmp_path / "file") and raised.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_hashes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert file_hash(tmp_path / "file") == data_hash(b"abc" * 100_000)
    assert data_hash("é") == hashlib.sha256("é".encode()).hexdigest()


def test_a_folder_is_tried(tmp_path, monkeypatch):
    assert writable_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written: not a directory") as raised:
        writable_folder(tmp_path / "file" / "folder")
    assert raised.value.filename == str(tmp_path / "file" / "folder")
    with pytest.raises(OSError, match="cannot be written: it is a file"):
        writable_folder(tmp_path / "file")
    assert not disk_is_full(tmp_path)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="cannot be written: no space left on its disk"):
        writable_folder(tmp_path)
    assert disk_is_full(tmp_path)


def test_a_file_is_tried(tmp_path):
    assert writable_file(tmp_path / "new" / "file") == tmp_path / "new" / "file"
    with pytest.raises(IsADirectoryError, match="is a folder: name a file in it"):
        writable_file(tmp_path / "new")
