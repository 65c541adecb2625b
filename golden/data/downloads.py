"""Fetching published data sets, when the user asks for it: nothing else in the package opens a connection.

Checksums are those that the authors publish (MD5): Zalando's Fashion-MNIST repository and A. Krizhevsky's
CIFAR page.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeloom.common.files import written_aside

BLOCK = 1 << 18
_FASHION_COMMIT = "b2617bb6d3ffa2e429640350f613e3291e10b141"  # the last one, of 2022: a branch may move
_FASHION = f"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/{_FASHION_COMMIT}/data/fashion/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file to fetch. md5: of the file. unpack: the members of an archive to keep, () for a plain file."""

    url: str
    md5: str
    unpack: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


SOURCES = {
    "fashion": (
        Source(url=_FASHION + "train-images-idx3-ubyte.gz", md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Source(url=_FASHION + "train-labels-idx1-ubyte.gz", md5="25c81989df183df01b3e8a0aad5dffbe"),
        Source(url=_FASHION + "t10k-images-idx3-ubyte.gz", md5="bef4ecab320f06d8554ea6380940ec79"),
        Source(url=_FASHION + "t10k-labels-idx1-ubyte.gz", md5="bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    "cifar10": (
        Source(
            url=_CIFAR + "cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            unpack=tuple(
                f"cifar-10-batches-bin/{x}.bin" for x in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
            ),
        ),
    ),
    "cifar100": (
        Source(
            url=_CIFAR + "cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            unpack=("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
        ),
    ),
}


def download(
    name: str,
    to: str | os.PathLike[str],
    *,
    sources: tuple[Source, ...] | None = None,
    opener: Callable[[str], Any] = urllib.request.urlopen,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> list[Path]:
    """Fetch a data set into a folder and return the files that `datasets.load` reads; what is there stays.

    sources: instead of the published ones. opener: from an address to an open response. progress: called with
    a file's name, the bytes so far and all of them, None where the server does not say. Raises ValueError for
    an unknown name and for a file whose checksum differs, which is removed.
    """
    if sources is None:
        if name not in SOURCES:
            raise ValueError(f"no download for data set {name!r}; there is one for: {', '.join(SOURCES)}")
        sources = SOURCES[name]
    folder, found = Path(to).expanduser(), []
    for source in sources:
        kept = [folder / x for x in source.unpack] or [folder / source.name]
        whole = all(x.is_file() for x in kept) if source.unpack else _md5(kept[0]) == source.md5
        if not whole:
            _fetch(source, folder, kept, opener, progress)
        found += kept
    return found


def _fetch(source: Source, folder: Path, kept: list[Path], opener: Callable[[str], Any], progress: Any) -> None:
    archive = folder / source.name
    if _md5(archive) != source.md5:
        with written_aside(archive) as aside:
            with opener(source.url) as response, open(aside, "wb") as file:
                length = response.headers.get("Content-Length") if hasattr(response, "headers") else None
                done = 0
                while block := response.read(BLOCK):
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(source.name, done, int(length) if length else None)
            got = _md5(aside)
            if got != source.md5:
                raise ValueError(f"{source.url} has MD5 {got}, not {source.md5}: nothing was kept")
    if source.unpack:
        _unpack(archive, source, kept)
        archive.unlink()


def _unpack(archive: Path, source: Source, kept: list[Path]) -> None:
    """Write the wanted members only, as plain files, each aside and renamed."""
    with tarfile.open(archive) as tar:
        for member, path in zip(source.unpack, kept, strict=True):
            try:
                content = tar.extractfile(member)
            except KeyError:
                content = None
            if content is None:
                raise ValueError(f"{archive} has no file {member}")
            with written_aside(path) as aside, open(aside, "wb") as file:
                while block := content.read(BLOCK):
                    file.write(block)


def _md5(file: Path) -> str | None:
    if not file.is_file():
        return None
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
