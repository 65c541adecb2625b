"""Data sets: the digits and their split, each file format from small files, downloads, and what is refused."""

import gzip
import hashlib
import io
import json
import os
import re
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from spikeloom.cli.main import run
from spikeloom.golden.data import datasets, downloads, published
from spikeloom.golden.data.downloads import Source

RNG = np.random.default_rng(0)
PUBLISHED = os.environ.get("SPIKELOOM_DATA")


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)


def test_split_is_fixed_stratified_and_without_overlap():
    train, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == np.uint8 and train.labels.dtype == np.int64
    assert np.bincount(test.labels).min() >= 34 and np.bincount(test.labels).max() <= 37
    keys = [x.tobytes() for x in (*train.images, *test.images)]
    assert len(set(keys)) == 1797
    assert test.labels[:8].tolist() == datasets.load("digits", "test").labels[:8].tolist()


def test_pixels_are_sixteen_times_the_original_below_256():
    original = load_digits()
    wanted = {
        tuple(min(255, 16 * int(p)) for p in image.ravel()): label
        for image, label in zip(original.images, original.target, strict=True)
    }
    for split in ("train", "test"):
        for image, label in zip(*datasets.load("digits", split), strict=True):
            assert wanted[tuple(image.ravel().tolist())] == label
            assert 0 < image.max() <= 255


def test_description_tells_sizes_and_seed(tmp_path):
    expected = "digits: 1437 training and 360 held-out images, stratified, split seed 0"
    assert datasets.describe_split("digits") == expected
    write_fashion(tmp_path)
    expected = "fashion: 5 training and 3 held-out images, split as published"
    assert datasets.describe_split("fashion", tmp_path) == expected


def test_unknown_data_set():
    with pytest.raises(ValueError, match="unknown data set 'mnist'; known: digits, fashion"):
        datasets.load("mnist", "test")


def test_unknown_split():
    with pytest.raises(ValueError, match="split must be train or test, not 'dev'"):
        datasets.load("digits", "dev")


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_fashion(folder, *, compressed=False):
    """Both splits; returns the arrays by split."""
    made = {}
    folder.mkdir(parents=True, exist_ok=True)
    for split, part, count in (("train", "train", 5), ("test", "t10k", 3)):
        images = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = RNG.integers(0, 10, count, dtype=np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            raw = idx(array)
            (folder / (name + ".gz" if compressed else name)).write_bytes(gzip.compress(raw) if compressed else raw)
        made[split] = images, labels
    return made


def write_cifar(folder, name, names, count=4):
    """Records as the CIFAR page describes them; returns images (n, 3, 32, 32) and labels in file order."""
    folder.mkdir(parents=True, exist_ok=True)
    all_images, all_labels = [], []
    for file in names:
        images = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = RNG.integers(0, 100 if name == "cifar100" else 10, count)
        raw = b""
        for image, label in zip(images, labels, strict=True):
            coarse = bytes([label // 5]) if name == "cifar100" else b""
            raw += coarse + bytes([label]) + image[0].tobytes() + image[1].tobytes() + image[2].tobytes()
        (folder / file).write_bytes(raw)
        all_images.append(images)
        all_labels.append(labels)
    return np.concatenate(all_images), np.concatenate(all_labels)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", ["", "fashion", "FashionMNIST/raw"])
def test_fashion_from_idx_files(tmp_path, compressed, below):
    made = write_fashion(tmp_path / below, compressed=compressed)
    for split, (images, labels) in made.items():
        found = datasets.load("fashion", split, tmp_path)
        assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64
        assert np.array_equal(found.images[:, 0], images) and found.shape == (1, 28, 28)
        assert found.labels.tolist() == labels.tolist()
        assert np.array_equal(found.batch(np.array([2, 0]))[:, 0], images[[2, 0]])


@pytest.mark.parametrize(
    "name, split, below, names",
    [
        ("cifar10", "train", "cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)]),
        ("cifar10", "test", "", ["test_batch.bin"]),
        ("cifar100", "train", "cifar-100-binary", ["train.bin"]),
        ("cifar100", "test", "", ["test.bin"]),
    ],
)
def test_cifar_from_binary_files(tmp_path, monkeypatch, name, split, below, names):
    images, labels = write_cifar(tmp_path / below, name, names)
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    found = datasets.load(name, split)
    assert np.array_equal(found.images, images) and found.labels.tolist() == labels.tolist()
    assert found.images.flags["C_CONTIGUOUS"]


def test_python_version_of_cifar_is_refused_and_never_opened(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ValueError, match="is the Python version of cifar10: pickles are never loaded; get the binary"):
        datasets.load("cifar10", "train", tmp_path)


def write_mosaics(folder, parts=1):
    tiles = RNG.integers(0, 256, (parts, 2, 3, 32, 32, 3), dtype=np.uint8)  # (sheet, rows, columns, H, W, RGB)
    for i, sheet in enumerate(tiles):
        rows = [np.concatenate(list(row), axis=1) for row in sheet]
        name = "cifar10_test.webp" if parts == 1 else f"cifar10_test_{i}.webp"
        Image.fromarray(np.concatenate(rows)).save(folder / name, lossless=True)
    labels = RNG.integers(0, 10, 6 * parts, dtype=np.uint8)
    np.savez(folder / "labels.npz", cifar10_test=labels)
    return tiles.reshape(-1, 32, 32, 3), labels


@pytest.mark.parametrize("parts", [1, 2])
def test_mosaics_are_cut_row_by_row(tmp_path, parts):
    images, labels = write_mosaics(tmp_path, parts)
    found = datasets.load("cifar10", "test", tmp_path)
    assert np.array_equal(found.images.transpose(0, 2, 3, 1), images)
    assert found.labels.tolist() == labels.tolist()


def test_grey_mosaic(tmp_path):
    sheet = RNG.integers(0, 256, (28, 84), dtype=np.uint8)
    Image.fromarray(sheet).save(tmp_path / "fashion_train.webp", lossless=True)
    np.savez(tmp_path / "labels.npz", fashion_train=np.array([3, 1, 2], dtype=np.uint8))
    found = datasets.load("fashion", "train", tmp_path)
    assert np.array_equal(found.images[1, 0], sheet[:, 28:56]) and found.images.shape == (3, 1, 28, 28)


def test_mosaics_that_do_not_fit(tmp_path):
    write_mosaics(tmp_path)
    np.savez(tmp_path / "labels.npz", cifar10_test=np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match="has 6 images but 5 labels"):
        datasets.load("cifar10", "test", tmp_path)
    np.savez(tmp_path / "labels.npz", other=np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match="labels.npz has no array called cifar10_test"):
        datasets.load("cifar10", "test", tmp_path)
    (tmp_path / "labels.npz").write_bytes(b"x" * 40)
    with pytest.raises(ValueError, match="is corrupt or no .npz file"):
        datasets.load("cifar10", "test", tmp_path)
    np.savez(tmp_path / "labels.npz", cifar10_test=np.zeros(6, np.uint8))
    (tmp_path / "cifar10_test.webp").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="is no image that can be read"):
        datasets.load("cifar10", "test", tmp_path)


def test_mosaic_of_another_tile_size(tmp_path):
    Image.new("RGB", (40, 32)).save(tmp_path / "cifar10_test.webp", lossless=True)
    np.savez(tmp_path / "labels.npz", cifar10_test=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match=r"\(32, 40\) pixels are no multiple of 32"):
        datasets.load("cifar10", "test", tmp_path)


@pytest.fixture
def pictures(tmp_path):
    """Two classes; the wide picture is red to the left, green in the middle, blue to the right."""
    wide = np.zeros((40, 120, 3), dtype=np.uint8)
    for i in range(3):
        wide[:, 40 * i : 40 * i + 40, i] = 255
    for split in ("train", "val"):
        for name, count in (("cat", 1), ("ant", 2)):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(wide).save(tmp_path / split / name / f"{i}.png")
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    return tmp_path


def test_folder_is_resized_and_cut_in_the_middle(pictures):
    found = datasets.open_images("folder", "train", pictures, size=16)
    assert found.classes == ("ant", "cat") and found.labels.tolist() == [0, 0, 1] and found.shape == (3, 16, 16)
    images = found.batch(np.array([2, 0]))
    assert images.shape == (2, 3, 16, 16) and images.dtype == np.uint8
    # Shorter side 16 / 0.875 = 18 pixels, a third of the longer one: only the green part is left.
    assert (images[:, 1, :, 2:14] == 255).all() and (images[:, [0, 2], :, 2:14] == 0).all()
    assert len(datasets.open_images("folder", "test", pictures).labels) == 3


def test_folder_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*train with a folder for each class"):
        datasets.open_images("folder", "train", tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no images in folders named after their classes"):
        datasets.open_images("folder", "train", tmp_path)
    with pytest.raises(ValueError, match="read image by image: use open_images"):
        datasets.load("folder", "train", tmp_path)


def test_folder_with_a_broken_image(pictures):
    (pictures / "train" / "ant" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="0.png is no image that can be read"):
        datasets.open_images("folder", "train", pictures).batch(np.array([0]))
    with pytest.raises(ValueError, match="size must be positive, not 0"):
        datasets.open_images("folder", "train", pictures, size=0)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ValueError, match="read from files: name their folder with --data-folder or in SPIKELOOM_DATA"):
        datasets.load("fashion", "train")
    with pytest.raises(FileNotFoundError, match="no such folder: .*gone"):
        datasets.load("fashion", "train", tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"no testing files of fashion in .*t10k-images-idx3-ubyte\[.gz\]"):
        datasets.load("fashion", "test", tmp_path)
    with pytest.raises(FileNotFoundError, match="data download cifar10 --to"):
        datasets.load("cifar10", "train", tmp_path)
    write_cifar(tmp_path, "cifar10", ["data_batch_1.bin"])
    with pytest.raises(FileNotFoundError, match="no such file: .*data_batch_2.bin"):
        datasets.load("cifar10", "train", tmp_path)
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="no such file: .*t10k-labels-idx1-ubyte, plain or .gz"):
        datasets.load("fashion", "test", tmp_path)


@pytest.mark.parametrize(
    "damage, expected",
    [
        (lambda raw: raw[:-1], r"is cut off or too long: its header says \(5, 28, 28\), it holds 3919 bytes"),
        (lambda raw: raw[:7], "is cut off or too long"),
        (lambda raw: b"\0\0\x0d" + raw[3:], "is no IDX file of bytes"),
        (lambda raw: b"", "is no IDX file of bytes"),
        (lambda raw: idx(np.zeros((4, 28, 28), np.uint8)), "has 4 images but 5 labels"),
        (lambda raw: idx(np.zeros(5, np.uint8)), "images must have 3 dimensions and labels 1, not 1 and 1"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, expected):
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=expected):
        datasets.load("fashion", "train", tmp_path)


def test_damaged_gzip(tmp_path):
    write_fashion(tmp_path, compressed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for broken in (whole[:100], b"plain", whole[:50] + bytes(20) + whole[70:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="is corrupt"):
            datasets.load("fashion", "train", tmp_path)


def test_damaged_cifar(tmp_path):
    write_cifar(tmp_path, "cifar100", ["train.bin"])
    (tmp_path / "train.bin").write_bytes((tmp_path / "train.bin").read_bytes()[1:])
    with pytest.raises(ValueError, match="is cut off or of another format: 12295 bytes are no multiple of 3074"):
        datasets.load("cifar100", "train", tmp_path)


def test_numbers_spread_over_a_data_set():
    assert datasets.spread_out(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert datasets.spread_out(11, 3).tolist() == [0, 5, 10]


# The published data sets themselves, where the machine has them.


@pytest.mark.skipif(PUBLISHED is None, reason="SPIKELOOM_DATA names no folder")
def test_published_fashion_has_its_published_statistics():
    train, test = datasets.load("fashion", "train", PUBLISHED), datasets.load("fashion", "test", PUBLISHED)
    assert train.images.shape == (60000, 1, 28, 28) and test.images.shape == (10000, 1, 28, 28)
    assert set(np.bincount(train.labels)) == {6000} and set(np.bincount(test.labels)) == {1000}
    assert abs(train.images.mean() / 255 - 0.2860) < 1e-4  # as published, four digits


# Downloads: from files, or from an opener that stands in for the network.


def md5(raw):
    return hashlib.md5(raw).hexdigest()


def test_download_from_an_address(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.bin").write_bytes(b"content")
    source = Source(url=(tmp_path / "there" / "a.bin").as_uri(), md5=md5(b"content"))
    seen = []
    (file,) = downloads.download("x", tmp_path / "here", sources=(source,), progress=lambda *state: seen.append(state))
    assert file == tmp_path / "here" / "a.bin" and file.read_bytes() == b"content"
    assert seen == [("a.bin", 7, 7)]


class Network:
    """An opener: addresses to content; remembers what was asked for."""

    def __init__(self, content):
        self.content, self.asked = content, []

    def __call__(self, url):
        self.asked.append(url)
        return io.BytesIO(self.content[url])


def test_download_keeps_nothing_with_another_checksum(tmp_path):
    network = Network({"https://x/a.bin": b"changed"})
    source = Source(url="https://x/a.bin", md5=md5(b"content"))
    with pytest.raises(ValueError, match=f"https://x/a.bin has MD5 {md5(b'changed')}, not {md5(b'content')}"):
        downloads.download("x", tmp_path, sources=(source,), opener=network)
    assert not list(tmp_path.iterdir())


def test_download_fetches_only_what_is_missing_or_wrong(tmp_path):
    network = Network({"https://x/a": b"a", "https://x/b": b"b"})
    sources = tuple(Source(url=f"https://x/{x}", md5=md5(x.encode())) for x in "ab")
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"half")
    downloads.download("x", tmp_path, sources=sources, opener=network)
    assert network.asked == ["https://x/b"] and (tmp_path / "b").read_bytes() == b"b"


def archive(members):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def test_download_unpacks_what_is_wanted_and_nothing_else(tmp_path):
    raw = archive({"c/train.bin": b"12", "../evil": b"x", "c/readme.html": b"y", "c/test.bin": b"3"})
    network = Network({"https://x/c.tar.gz": raw})
    source = Source(url="https://x/c.tar.gz", md5=md5(raw), unpack=("c/train.bin", "c/test.bin"))
    files = downloads.download("x", tmp_path / "d", sources=(source,), opener=network)
    assert [x.read_bytes() for x in files] == [b"12", b"3"]
    assert sorted(str(x.relative_to(tmp_path)) for x in tmp_path.rglob("*") if x.is_file()) == [
        "d/c/test.bin", "d/c/train.bin",
    ]  # fmt: skip
    downloads.download("x", tmp_path / "d", sources=(source,), opener=network)
    assert len(network.asked) == 1
    wrong = Source(url="https://x/c.tar.gz", md5=md5(raw), unpack=("c/other.bin",))
    with pytest.raises(ValueError, match="has no file c/other.bin"):
        downloads.download("x", tmp_path / "e", sources=(wrong,), opener=network)


def test_sources_are_complete():
    with pytest.raises(ValueError, match="no download for data set 'digits'; there is one for: fashion, cifar10"):
        downloads.download("digits", ".")
    for name, sources in downloads.SOURCES.items():
        kept = {Path(x).name.removesuffix(".gz") for s in sources for x in s.unpack or (s.name,)}
        for split in ("train", "test"):
            assert {x.removesuffix("[.gz]") for x in published.file_names(name, split)} <= kept
        assert all(s.url.startswith("https://") and len(s.md5) == 32 for s in sources)


# The commands.


def test_data_show(tmp_path, capsys):
    write_fashion(tmp_path)
    assert run(["data", "show", "fashion", "--data", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["image_shape"] == [1, 28, 28] and (shown["training"], shown["held_out"]) == (5, 3)
    assert run(["data", "show"]) == 0 and "1,437" in capsys.readouterr().out


def test_data_download(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.gz").write_bytes(b"content")
    source = Source(url=(tmp_path / "a.gz").as_uri(), md5=md5(b"content"))
    monkeypatch.setitem(downloads.SOURCES, "fashion", (source,))
    assert run(["data", "download", "fashion", "--to", str(tmp_path / "d"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(tmp_path / "d" / "a.gz")]
    assert run(["data", "download", "mnist", "--to", str(tmp_path)]) == 2
    assert "no download for data set 'mnist'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["data"], ["data", "download"], ["data", "show"]])
def test_help_of_data_has_an_example(command, capsys):
    assert run([*command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Example: spikeloom data" in shown and "--json" in shown


def test_downloads_do_not_follow_a_branch():
    """An address in a repository names a commit."""
    for source in (source for sources in downloads.SOURCES.values() for source in sources):
        if "github" in source.url:
            assert re.search(r"/[0-9a-f]{40}/", source.url), source.url
