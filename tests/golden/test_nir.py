"""NIR graphs and networks of integers compute the same spikes; the witness is an interpreter of NIR's equations."""

import json
from dataclasses import replace

import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeloom.cli.main import run
from spikeloom.gen.compiler import compile_network
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.exchange.nir_export import export_nir, inexpressible
from spikeloom.golden.exchange.nir_import import import_nir
from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.sim.simulate import simulate


def interpret(graph, inputs, steps, dt):
    """Spikes of each layer of neurons (T, B, ...) and the outputs, by Euler steps in float64 of the same input."""
    following, name = dict(graph.edges), next(k for k, v in graph.nodes.items() if isinstance(v, nir.Input))
    potentials, spikes, outputs = {}, {}, []
    for _ in range(steps):
        x, name = torch.as_tensor(inputs, dtype=torch.float64), "input"
        while (name := following[name]) != "output":
            node = graph.nodes[name]
            get = lambda key, node=node: torch.as_tensor(np.array(getattr(node, key)), dtype=torch.float64)  # noqa: E731
            if isinstance(node, nir.Conv2d):
                padding = node.padding if isinstance(node.padding, str) else [int(n) for n in np.ravel(node.padding)]
                stride, dilation = ([int(n) for n in np.ravel(v)] for v in (node.stride, node.dilation))
                x = F.conv2d(x, get("weight"), get("bias"), stride, padding, dilation, int(node.groups))
            elif isinstance(node, nir.Affine):
                x = x @ get("weight").T + get("bias")
            elif isinstance(node, nir.Linear):
                x = x @ get("weight").T
            elif isinstance(node, nir.Scale):
                x = x * get("scale")
            elif isinstance(node, nir.Flatten):
                x = x.flatten(1)
            elif isinstance(node, nir.SumPool2d | nir.AvgPool2d):
                size = [int(n) for n in node.kernel_size]
                x = F.avg_pool2d(x, size) * (size[0] * size[1] if isinstance(node, nir.SumPool2d) else 1)
            else:
                v = potentials.get(name, torch.zeros_like(x))
                if isinstance(node, nir.IF):
                    v = v + dt * get("r") * x
                else:
                    v = v + dt / get("tau") * (get("v_leak") - v + get("r") * x)
                x = (v > get("v_threshold")).double()
                potentials[name] = torch.where(x > 0, get("v_reset").expand_as(v), v)
                spikes.setdefault(name, []).append(x)
        outputs.append(x)
    return {key: torch.stack(value).numpy() for key, value in spikes.items()}, torch.stack(outputs).numpy()


def chain(seed, neuron, *, steps=4, depthwise=True, **header):
    """A network without attention, pooling and residuals: what NIR can express."""
    rng = np.random.default_rng(seed)

    def layer(name, source, shape, out, **fields):
        size = fields.get("kernel", 1)
        inputs = 1 if fields.get("depthwise") else shape[0]
        spread = 127 * (80 if source == IMAGE else 1)
        return Layer(
            name=name, inputs=(source,), steps=steps, channels_in=shape[0], channels_out=out,
            height_in=shape[1], width_in=shape[2], neuron=neuron,
            weight=rng.integers(-90, 128, (out, inputs, size, size)).astype(np.int8),
            bias=rng.integers(-spread // 2, spread, out), threshold=rng.integers(spread, 3 * spread, out),
            scale=2.0 ** rng.integers(-9, -6, out) * (2.0**-8 if source == IMAGE else 1), **fields,
        )  # fmt: skip

    layers = [layer("sps.0", IMAGE, (2, 8, 10), 5, kernel=3, stride=2, padding=1)]
    if depthwise:
        layers.append(layer("sps.1", "sps.0", (5, 4, 5), 5, kernel=3, padding=1, depthwise=True))
    layers.append(layer("sps.2", layers[-1].name, (5, 4, 5), 6, weight_bits=8))
    head = layer("head", "sps.2", (6, 4, 5), 3)
    small = head.weight // 4  # so that another scale would do as well
    head = replace(head, kind="readout", group="head", weight=small)
    head = replace(head, threshold=np.zeros(3, int), scale=np.full(3, 2.0**-7))
    shape = dict(steps=steps, channels=2, height=8, width=10)
    return Network(name="chain", layers=(*layers, head), **{**shape, **header})


@pytest.mark.parametrize("dt", [1.0, 2.0**-10])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("leak", [False, True])
def test_a_round_trip_keeps_every_integer_and_every_spike(leak, strict, dt, tmp_path):
    network = chain(int(leak) * 2 + strict, Neuron(hard=True, strict=strict, leak=leak))
    images = random_images(network, 6)
    assert inexpressible(network) == {}
    made = export_nir(network, dt=dt)
    assert made.left_out == {}
    made.save(tmp_path / "chain.nir")
    graph = nir.read(tmp_path / "chain.nir")  # with NIR's own check of all shapes
    execution = execute(network, images, record=True)
    spikes, outputs = interpret(graph, images * network.pixel_scale, 4, dt)
    for layer in network.spiking:
        found = spikes[layer.name.replace(".", "_") + "_neurons"]
        assert found.any() and (found == execution.spikes[layer.name]).all(), layer.name
    np.testing.assert_array_equal(outputs.sum(0), execution.sums * network.layers[-1].scale)
    back = import_nir(tmp_path / "chain.nir")
    assert (back.steps, back.image_shape, back.pixel_scale, back.name) == (4, (2, 8, 10), 1 / 256, "chain")
    for before, after in zip(network.layers, back.layers, strict=True):
        for key in ("name", "kind", "kernel", "stride", "padding", "depthwise", "weight_bits"):
            assert getattr(before, key) == getattr(after, key)
        assert before.kind == "readout" or before.neuron == after.neuron
        for key in ("weight", "bias", "threshold", "scale"):
            np.testing.assert_array_equal(getattr(before, key), getattr(after, key))
    assert (execute(back, images).sums == execution.sums).all()
    longer = import_nir(graph, steps=6)
    assert longer.steps == longer.layers[0].steps == 6


def test_thresholds_that_are_met_exactly():
    """H equal to the threshold: the case in which > and >= differ, also after the file."""
    for strict in (False, True):
        network = chain(1, Neuron(leak=False, strict=strict), depthwise=False)
        first = replace(
            network.layers[0],
            weight=np.full((5, 2, 3, 3), 1, np.int8), bias=np.zeros(5, int), threshold=np.full(5, 2 * 2 * 9),
        )  # fmt: skip
        network = replace(network, layers=(first, *network.layers[1:]))
        images = np.full((1, 2, 8, 10), 1, np.uint8)  # inside, 18 a step: met at the second
        spikes, _ = interpret(export_nir(network).graph, images / 256, 4, 1.0)
        execution = execute(network, images, record=True)
        assert (spikes["sps_0_neurons"] == execution.spikes["sps.0"]).all()
        assert list(execution.spikes["sps.0"][:, 0, 0, 1, 1]) == ([0, 0, 1, 0] if strict else [0, 1, 0, 1])
        assert (execute(import_nir(export_nir(network).graph), images, record=True).spikes["sps.0"]
                == execution.spikes["sps.0"]).all()  # fmt: skip


def foreign(rng):
    """A graph as other programs write it, with few enough bits that nothing is rounded."""

    def dyadic(*shape):
        return (rng.integers(-15, 17, shape) / 16).astype(np.float32)

    def neurons(kind, *shape, **fields):
        ones = np.ones(shape, np.float32)
        return kind(v_threshold=ones, **{key: ones * value for key, value in fields.items()})

    nodes = [
        nir.Conv2d((12, 12), dyadic(4, 2, 3, 3), 1, "same", 1, 1, dyadic(4)),
        neurons(nir.IF, 4, 12, 12, r=2.0),
        nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.Conv2d((6, 6), dyadic(6, 2, 2, 2), 1, (1, 1), 2, 2, dyadic(6)),
        nir.Scale(np.repeat(np.array([1, 2, 0.5, 1, 1, 4], np.float32), 36).reshape(6, 6, 6)),
        neurons(nir.LIF, 6, 6, 6, tau=2.0, r=1.0, v_leak=0.5),
        nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        nir.Flatten({"input": np.array([6, 3, 3])}, 0, -1),
        nir.Linear(dyadic(8, 54) * 4),
        neurons(nir.LIF, 8, tau=2.0, r=0.5, v_leak=0.0),
        nir.Affine(dyadic(8, 8), dyadic(8)),
        neurons(nir.IF, 8, r=1.0),
    ]
    names = ["input", *(str(i) for i in range(len(nodes))), "output"]
    nodes = [nir.Input(np.array([2, 12, 12])), *nodes, nir.Output(np.array([8]))]
    edges = list(zip(names, names[1:], strict=False))
    return nir.NIRGraph(dict(zip(names, nodes, strict=True)), edges, type_check=False)


@pytest.mark.parametrize("scales", ["power-of-two", "free"])
def test_a_graph_of_another_program(scales, tmp_path):
    graph = foreign(np.random.default_rng(4))
    nir.write(tmp_path / "other.nir", graph)
    network = import_nir(tmp_path / "other.nir", steps=5, pixel_scale=0.25, scales=scales, name="other")
    assert [(x.kernel, x.stride, x.padding) for x in network.layers] == [
        (3, 1, 1), (6, 2, 2), (6, 2, 0), (1, 1, 0), (1, 1, 0),
    ]  # fmt: skip
    assert [x.name for x in network.layers] == ["0", "4", "8", "10", "readout"]
    images = np.random.default_rng(1).integers(0, 5, (4, 2, 12, 12)).astype(np.uint8)
    spikes, outputs = interpret(graph, images / 4, 5, 1.0)
    execution = execute(network, images, record=True)
    if scales == "power-of-two":
        for name, layer in (("1", "0"), ("5", "4"), ("9", "8"), ("11", "10")):
            found = execution.spikes[layer]
            assert 0 < found.mean() < 1 and (spikes[name].reshape(found.shape) == found).all(), name
        assert (outputs.sum(0) == execution.sums).all()
    four = import_nir(graph, weight_bits=4)
    assert {x.weight_bits for x in four.layers[:-1]} == {4}


def test_convolutions_in_groups_are_whole_ones():
    rng = np.random.default_rng(2)
    weight = rng.integers(-8, 16, (4, 1, 3, 3)) / 16
    conv = nir.Conv2d((4, 4), weight.astype(np.float32), 1, 1, 1, 2, np.zeros(4, np.float32))
    thin = nir.Conv2d((4, 4), weight.astype(np.float32), 1, 1, 1, 4, np.zeros(4, np.float32))
    nodes = [conv, spiking(4, 4, 4), thin, spiking(4, 4, 4), nir.AvgPool2d(np.array([4, 4]), np.array([4, 4]), NONE)]
    graph = sequence(*nodes, out=(4, 1, 1))
    network = import_nir(graph, pixel_scale=0.25)
    assert [x.depthwise for x in network.layers] == [False, True, False]
    images = rng.integers(0, 5, (3, 2, 4, 4)).astype(np.uint8)
    spikes, _ = interpret(graph, images / 4, 4, 1.0)
    execution = execute(network, images, record=True)
    assert (spikes["n1"] == execution.spikes["n0"]).all() and (spikes["n3"] == execution.spikes["n2"]).all()
    assert 0 < spikes["n3"].mean() < 1


def test_every_node_that_cannot_be_taken_is_named():
    one, size = np.ones(4, np.float32), np.array([4, 6, 6])
    nodes = {
        "input": nir.Input(size),
        "pool": nir.SumPool2d(np.array([3, 3]), np.array([2, 2]), np.array([1, 1])),
        "wide": nir.Conv2d((6, 6), np.ones((4, 4, 3, 1), np.float32), 1, 0, 1, 1, one),
        "current": nir.CubaLIF(tau_syn=one, tau_mem=one, r=one, v_leak=one, v_threshold=one),
        "slow": nir.LIF(tau=20 * one, r=one, v_leak=0 * one, v_threshold=one),
        "up": nir.IF(r=one, v_threshold=one, v_reset=one),
        "later": nir.Delay(one),
        "output": nir.Output(np.array([4])),
    }
    names = list(nodes)
    edges = [*zip(names, names[1:], strict=False), ("slow", "slow"), ("up", "wide")]
    with pytest.raises(ValueError) as error:
        import_nir(nir.NIRGraph(nodes, edges, type_check=False))
    message = str(error.value)
    for text in (
        "node 'pool' (SumPool2d): pooling must be without overlap and padding, not kernel (3, 3), (2, 2), (1, 1)",
        "node 'wide' (Conv2d): kernel, stride and dilation must be square, not (3, 1)",
        "node 'current' (CubaLIF): a network has no such node",
        "node 'slow' (LIF): tau must be 2 dt, a leak of one half, not 20 with dt = 1",
        "node 'slow': it feeds itself",
        "node 'up' (IF): v_reset must be 0",
        "node 'wide': 2 edges in and 1 out",
        "node 'later' (Delay): a network has no such node",
    ):
        assert text in message
    assert "\n" not in message and "'input'" not in message


def sequence(*nodes, shape=(2, 4, 4), out=(2,)):
    names = ["input", *(f"n{i}" for i in range(len(nodes))), "output"]
    every = [nir.Input(np.array(shape)), *nodes, nir.Output(np.array(out))]
    edges = list(zip(names, names[1:], strict=False))
    return nir.NIRGraph(dict(zip(names, every, strict=True)), edges, type_check=False)


def spiking(*shape, **fields):
    ones = np.ones(shape, np.float32)
    return nir.IF(**{"r": ones, "v_threshold": ones, **fields})


FLAT = nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1)
THREE, NONE = np.array([3, 3]), np.array([0, 0])
CONV = dict(stride=1, padding=1, dilation=1, groups=1, bias=np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "message, nodes",
    {
        "no neurons between it and 'n1'": [FLAT, nir.Linear(np.ones((2, 32))), nir.Linear(np.ones((2, 2)))],
        "r must be the same for all positions": [
            nir.Conv2d((4, 4), np.ones((2, 2, 3, 3)), **CONV),
            spiking(2, 4, 4, r=np.arange(1, 33, dtype=float).reshape(2, 4, 4)),
        ],
        "4x4 is no multiple of its window of 3x3": [nir.SumPool2d(THREE, THREE, NONE)],
        "there is nothing that spikes": [FLAT, nir.Linear(np.ones((2, 32)))],
        "end it with a SumPool2d over 4x4, or with Flatten and Affine": [spiking(2, 4, 4)],
        "weights of shape (2, 30) do not fit": [FLAT, nir.Linear(np.ones((2, 30))), spiking(2)],
        "weights must be finite": [nir.Conv2d((4, 4), np.full((2, 2, 3, 3), np.nan), **CONV), spiking(2, 4, 4)],
        "'n0': weights of shape (2, 32) do not fit": [nir.Linear(np.ones((2, 32))), spiking(2)],
    }.items(),
)  # fmt: skip
def test_chains_that_are_no_layers(message, nodes):
    with pytest.raises(ValueError) as error:
        import_nir(sequence(*nodes))
    assert message in str(error.value)


def test_files_that_are_no_nir(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        import_nir(tmp_path / "missing.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(ValueError, match="text.nir is no NIR file"):
        import_nir(tmp_path / "text.nir")
    with pytest.raises(ValueError, match="dt must be above 0, not 0"):
        import_nir(foreign(np.random.default_rng(0)), dt=0)


def test_a_spikformer_is_refused_with_the_whole_list(tmp_path, capsys):
    network = random_network(1, time_steps={"sps.1": 2}, stem=(4, 8, 8), height=4, width=4, pools=(False, False, True))
    found = inexpressible(network)
    reasons = {
        "sps.1": "T_l = 2 of 4",
        "sps.2": "max-pooling",
        "rpe": "residual",
        "block.0.k": "does not read the layer before",
        "block.0.v": "does not read the layer before",
        "block.0.attn": "attention multiplies",
        "block.0.proj": "residual",
        "block.0.fc2": "residual",
    }
    assert {name: [reason for text in texts if (reason := reasons[name]) in text] for name, texts in found.items()} == {
        name: [reason] for name, reason in reasons.items()
    }
    with pytest.raises(ValueError) as error:
        export_nir(network)
    assert all(name in str(error.value) for name in reasons) and "--partial writes the 1 layers" in str(error.value)
    network.save(tmp_path / "net.safetensors")
    line = ["nir", "export", str(tmp_path / "net.safetensors"), "-o", str(tmp_path / "part.nir")]
    assert run(line) == 2 and not (tmp_path / "part.nir").exists()
    assert "NIR has no product of two tensors (block.0.attn)" in capsys.readouterr().err
    assert run([*line, "--partial", "--json"]) == 0
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert record["layers"] == ["sps.0"] and list(record["left_out"]) == [x.name for x in network.layers[1:]]
    assert record["left_out"]["block.0.q"] == "behind 'sps.1', which is left out"
    assert f"{len(network.layers) - 1} layers are left out" in shown.err
    graph = nir.read(tmp_path / "part.nir")
    assert json.loads(graph.metadata["spikeloom"])["left_out"] == record["left_out"]
    images = random_images(network, 3)
    spikes, _ = interpret(graph, images / 256, 4, 1.0)
    assert (spikes["sps_0_neurons"] == execute(network, images, record=True).spikes["sps.0"]).all()
    soft = random_network(0, neuron="dts", residual="ms", height=4, width=4)
    with pytest.raises(
        ValueError,
        match=r"not even a part of it: .*'sps.0': NIR's neurons have no soft reset \(sps.0, ",
    ):
        export_nir(soft, partial=True)
    assert "membrane shortcut" in inexpressible(soft)["block.0.proj"][0]


def test_an_imported_network_runs_on_the_core(tmp_path, capsys):
    """Fractions of images through import, compiler and Verilog: every spike, class sum and counter."""
    nir.write(tmp_path / "other.nir", foreign(np.random.default_rng(4)))
    line = ["nir", "import", str(tmp_path / "other.nir"), "--time-steps", "3", "--pixel-scale", "0.25"]
    assert run([*line, "-o", str(tmp_path / "net.safetensors"), "--json"]) == 0
    shown = capsys.readouterr()
    assert [x["neuron"] for x in json.loads(shown.out)["layers"]] == ["IF", "LIF", "LIF", "IF", ""]
    assert "the same at every time step" in shown.err
    network = Network.load(tmp_path / "net.safetensors")
    images = np.random.default_rng(1).integers(0, 5, (2, 2, 12, 12)).astype(np.uint8)
    compiled = compile_network(network, smallest_core(network, lanes=8, neuron_lanes=4))
    report = simulate(compiled, images, build_dir=tmp_path / "build")
    assert [str(d) for d in (*report.differences, *report.counter_differences)] == []
    assert report.images_bit_exact == 2 and report.golden["total"]["spikes"].sum() > 0


def test_edges_to_nowhere_are_named():
    graph = foreign(np.random.default_rng(0))
    graph.edges.append((next(iter(graph.nodes)), "nowhere"))
    with pytest.raises(ValueError, match="node 'nowhere': an edge leads to it, and there is none"):
        import_nir(graph)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"steps": 1_000_000}, "metadata.steps must be at most 256, not 1000000"),
        ({"dt": "soon"}, "metadata.dt must be a number, not 'soon'"),
        ({"padding_pixel": "x"}, "metadata.padding_pixel must be a list, not 'x'"),
    ],
)
def test_what_a_file_of_ours_says_is_checked(fields, message):
    graph = foreign(np.random.default_rng(0))
    graph.metadata = {"spikeloom": json.dumps(fields)}
    with pytest.raises(ValueError, match=message):
        import_nir(graph)
