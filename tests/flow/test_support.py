"""The table of what each stage supports: it says what the compiler, NIR and the imports in fact do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeloom.cli.main import run
from spikeloom.flow.support import FEATURES, PAGE, STAGES, features_of, page, stages_for
from spikeloom.gen.compiler import compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.golden.exchange.nir_export import export_nir
from spikeloom.golden.exchange.nir_import import import_nir
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import official
from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.quantization.quantize import quantize
from support import e_spikeformers

LANES = 8


def layer(name, source, channels_in, channels_out, *, size=4, kernel=3, **more):
    rng = np.random.default_rng(channels_out)
    inside = 1 if more.get("depthwise") else channels_in
    readout = more.get("kind") == "readout"
    return Layer(
        name=name,
        inputs=(source,),
        steps=2,
        channels_in=channels_in,
        channels_out=channels_out,
        height_in=size,
        width_in=size,
        kernel=kernel,
        padding=kernel // 2,
        weight=rng.integers(-7, 8, (channels_out, inside, kernel, kernel)).astype(np.int8),
        bias=np.zeros(channels_out, np.int64),
        threshold=np.full(channels_out, 0 if readout else 9),
        scale=np.full(channels_out, 1 / 8),
        **more,
    )


def chain(**more):
    """Two convolutions and a readout; more: fields of the second convolution."""
    layers = (
        layer("a", IMAGE, 1, 4, neuron=more.get("neuron", Neuron())),
        layer("b", "a", 4, 4, **more),
        layer("c", "b", 4, 3, kernel=1, kind="readout", group="head"),
    )
    return Network(name="chain", steps=2, channels=1, height=4, width=4, layers=layers)


def framed():
    """The image has a frame, as normalised pixels have."""
    network = chain()
    first = replace(network.layers[0], padding=0, height_in=6, width_in=6)
    return replace(network, height=6, width=6, padding_pixel=(128,), layers=(first, *network.layers[1:]))


def models(*, pool_first=False, residual="sew", **more):
    torch.manual_seed(0)
    sizes = dict(depth=1, dim=16, heads=2, height=16, width=16, mlp_ratio=1, classes=4, steps=2)
    return quantize(Spikformer(official("cifar", **{**sizes, "pool_first": pool_first, "residual": residual, **more})))


def e_spikeformer():
    return quantize(e_spikeformers.make())


NETWORKS = {
    "a chain": lambda: chain(),
    "of IF neurons": lambda: chain(neuron=Neuron(leak=False)),
    "with reset by subtraction": lambda: chain(neuron=Neuron(hard=False, strict=True)),
    "with time steps": lambda: chain().with_steps({"b": 1}),
    "with 4 bits": lambda: chain(weight_bits=4),
    "with a frame": framed,
    "with a depthwise convolution": lambda: chain(depthwise=True),
    "with pooled spikes": lambda: random_network(1, height=4, width=4, time_steps="full"),
    "with pooled currents": lambda: random_network(1, height=4, width=4, pool_first=True),
    "with membrane shortcuts": lambda: random_network(1, height=4, width=4, residual="ms"),
    "with odd heads": lambda: random_network(1, height=4, width=4, stem=(4, 12), heads=2),
    "of the DTS paper": lambda: random_network(2, height=4, width=4, neuron="dts", weight_bits=4),
    "E-SpikeFormer": e_spikeformer,
}


@pytest.fixture(scope="module")
def networks():
    return {name: make() for name, make in NETWORKS.items()}


def test_every_feature_is_tried_with_and_without(networks):
    for feature in FEATURES:
        found = [feature.present(network) for network in networks.values()]
        assert any(found) and not all(found), feature.name


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_take_what_the_table_says(name, networks):
    network = networks[name]
    missing = stages_for(network)
    assert not missing["golden"] and len(execute(network, random_images(network, 1)).sums) == 1
    if missing["core"]:
        with pytest.raises(CompileError, match="layer '"):
            compile_network(network, lanes=LANES)
    else:
        compile_network(network, lanes=LANES)
    if missing["nir_export"]:
        with pytest.raises(ValueError, match="NIR cannot express"):
            export_nir(network)
    else:
        again = import_nir(export_nir(network).graph)
        assert features_of(again) == features_of(network) and not stages_for(again)["nir_import"]


def test_what_foreign_checkpoints_have():
    """The union of what the architectures that can be imported have: official, SpikingJelly's and E-SpikeFormer."""
    found = [models(), models(pool_first=True), models(dim=24), e_spikeformer()]
    assert {x.name for network in found for x in features_of(network)} == {x.name for x in FEATURES if x.checkpoints}


def test_the_page_is_this_table():
    assert (Path(__file__).parents[2] / PAGE).read_text() == page()


def test_info_shows_it(capsys):
    assert run(["info", "--support", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [x["feature"] for x in record["support"]] == [x.name for x in FEATURES]
    assert all(set(STAGES) < set(x) for x in record["support"])
    assert record["missing"]["core"] == [] and "max-pooling of spikes" in record["missing"]["nir_export"]
    assert run(["info", "--support"]) == 0
    out = capsys.readouterr().out
    assert "depthwise convolutions" in out and "NIR export" in out
