"""Cosine similarity of layer inputs between time steps, and its figures."""

import csv

import numpy as np
import pytest
import torch

from spikeloom.golden.analysis.similarity import as_csv, draw, similarity
from spikeloom.golden.network import IMAGE
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network

STEPS = {"sps.0": 3, "sps.1": 2, "block.0.q": 1, "block.0.k": 2, "block.0.fc1": 0}


@pytest.fixture(scope="module")
def network():
    return random_network(3, height=4, width=4, stem=(4, 8), hidden=8, steps=4, time_steps=STEPS)


@pytest.fixture(scope="module")
def images(network):
    return random_images(network, 7, seed=2)


@pytest.fixture(scope="module")
def found(network, images):
    return similarity(network, images, batch=3)


def test_equals_pytorchs_cosine_image_by_image(network, images, found):
    tensors = execute(network, images, record=True).tensors
    del tensors[IMAGE]
    padded = {name: np.concatenate([x, np.zeros((4 - len(x), *x.shape[1:]))]) for name, x in tensors.items()}
    assert list(found) == [layer.name for layer in network.layers if layer.inputs[0] != IMAGE]
    checked = 0
    for layer in network.layers[1:]:
        inputs = torch.from_numpy(np.concatenate([padded[name].reshape(4, 7, -1) for name in layer.inputs], axis=2))
        for step in range(4):
            for other in range(4):
                known = inputs[step].any(1) & inputs[other].any(1)
                cosines = torch.cosine_similarity(inputs[step], inputs[other], dim=1)[known]
                assert found[layer.name].images[step, other] == len(cosines)
                # Tolerance: the order of additions.
                mean = pytest.approx(float(cosines.mean()), rel=1e-9, nan_ok=True)
                assert found[layer.name].matrix[step, other] == mean
                checked += len(cosines)
    assert checked > 300


def test_steps_beyond_the_producers_have_no_similarity(found):
    reads = found["sps.1"]
    assert reads.inputs == ("sps.0",) and reads.steps == 3
    assert np.isnan(reads.matrix[3]).all() and not np.isnan(reads.matrix[:3, :3]).any()
    assert np.allclose(np.diagonal(reads.matrix)[:3], 1) and np.allclose(reads.matrix[:3, :3], reads.matrix[:3, :3].T)
    assert reads.mean == pytest.approx((reads.matrix[0, 1] + reads.matrix[1, 2]) / 2)
    nothing = found["block.0.fc2"]
    assert nothing.steps == 0 and nothing.mean is None and not nothing.images.any()


def test_batches_make_no_difference(network, images, found):
    whole = similarity(network, images)
    assert all(np.allclose(whole[name].matrix, found[name].matrix, equal_nan=True) for name in found)


def test_membrane_streams_are_compared_too():
    network = random_network(4, height=4, width=4, stem=(4, 8), hidden=8, residual="ms", time_steps="full")
    found = similarity(network, random_images(network, 3))
    assert found["block.0.attn_in"].inputs == ("rpe",)
    assert np.allclose(np.diagonal(found["block.0.attn_in"].matrix), 1)


def test_no_images_are_refused(network):
    with pytest.raises(ValueError, match="images must be at least one, not 0"):
        similarity(network, np.zeros((0, 1, 4, 4), np.uint8))


def test_table_as_csv(found):
    rows = list(csv.DictReader(as_csv(found).splitlines()))
    assert len(rows) == 16 * len(found)
    for row in rows:
        value = found[row["layer"]].matrix[int(row["step"]) - 1, int(row["other"]) - 1]
        assert row["similarity"] == ("" if np.isnan(value) else f"{value:.6f}")


@pytest.mark.parametrize("kind,head", [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_figure_a_layer_and_one_of_all(tmp_path, found, kind, head):
    files = draw({name: found[name] for name in ("sps.1", "block.0.attn", "block.0.fc2")}, tmp_path, kind=kind)
    names = ["all-layers", "01-sps.1", "02-block.0.attn", "03-block.0.fc2"]
    assert files == [tmp_path / f"{name}.{kind}" for name in names] and sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.read_bytes().startswith(head) for file in files)
    if kind == "svg":
        text = files[1].read_text()
        assert f"<!-- {found['sps.1'].matrix[0, 1]:.2f} -->" in text and "<!-- sps.1 -->" in text
