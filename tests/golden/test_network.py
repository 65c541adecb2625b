"""The contract: derived shapes, what is refused with which words, saving and loading."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from spikeloom.golden.network import IMAGE, Layer, Network
from spikeloom.golden.network.random_network import random_network


@pytest.fixture
def network():
    return random_network(1, depth=2, time_steps="full")


def changed(network, which, **fields):
    return [replace(x, **fields) if x.name == which else x for x in network.layers]


def assert_refused(network, which, message, **fields):
    with pytest.raises(ValueError, match=message):
        replace(network, layers=tuple(changed(network, which, **fields)))


def assert_same(loaded, network):
    for key in Network.__dataclass_fields__:
        if key not in ("layers", "shapes"):
            assert getattr(loaded, key) == getattr(network, key)
    for a, b in zip(network.layers, loaded.layers, strict=True):
        for key in Layer.__dataclass_fields__:
            x, y = getattr(a, key), getattr(b, key)
            if isinstance(x, np.ndarray):
                assert x.dtype == y.dtype and (x == y).all()
            else:
                assert x == y


def test_tensors(network):
    info = network.tensors()
    assert (info[IMAGE].steps, info[IMAGE].maximum, info[IMAGE].planes) == (1, 255, 8)
    assert [info[x].maximum for x in ("sps.1", "rpe", "block.0.q", "block.0.proj", "block.1.fc2")] == [
        1,
        2,
        1,
        3,
        6,
    ]
    assert [info[x].planes for x in ("sps.1", "rpe", "block.1.fc2")] == [1, 2, 3]
    assert (info["sps.0"].height, info["sps.1"].height, info["sps.1"].width) == (8, 4, 4)


def test_steps_of_a_residual_are_the_larger(network):
    info = network.with_steps({"rpe": 1, "sps.1": 3, "block.0.proj": 2}).tensors()
    assert (info["rpe"].steps, info["block.0.proj"].steps, info["sps.1"].steps) == (3, 3, 3)


def test_with_steps_sets_the_readout_to_its_input(network):
    short = network.with_steps({x.name: 2 for x in network.spiking})
    assert short.layers[-1].steps == 2
    assert short.t_avg == 2 and network.t_avg == 4


def test_t_avg_is_the_mean_over_spiking_layers(network):
    names = [x.name for x in network.spiking]
    assert network.with_steps({names[0]: 1, names[1]: 0}).t_avg == 4 - 7 / len(names)


def test_save_and_load_keep_everything(network, tmp_path):
    network = replace(network, provenance={"accuracy": 0.5, "list": [1, 2]})
    network.save(tmp_path / "a" / "network.safetensors")
    loaded = Network.load(tmp_path / "a" / "network.safetensors")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["network.safetensors"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "a" / "network.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert_same(loaded, network)


def test_a_save_that_fails_leaves_the_old_file(network, tmp_path, monkeypatch):
    network.save(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("spikeloom.golden.network.file.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        network.save(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == before


def test_unknown_layer(network):
    with pytest.raises(KeyError, match="unknown layer 'x'; the layers are sps.0, sps.1, rpe, block.0.q"):
        network.layer("x")
    with pytest.raises(KeyError, match="unknown layer 'x'"):
        network.with_steps({"x": 1})


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such network file: .*missing"):
        Network.load(tmp_path / "missing")


def test_corrupt_file(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not a safetensors file at all")
    with pytest.raises(ValueError, match="is corrupt or not a safetensors file"):
        Network.load(path)


def test_truncated_file(network, tmp_path):
    path = tmp_path / "x.safetensors"
    network.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is corrupt or not a safetensors file"):
        Network.load(path)


def resave(network, path, *, metadata=None, drop=None, header=None):
    """Save a network and then tamper with the file."""
    network.save(path)
    with safe_open(path, framework="numpy") as file:
        about, tensors = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}
    if header is not None:
        known = json.loads(about["network"])
        header(known)
        about["network"] = json.dumps(known)
    tensors.pop(drop, None)
    save_file(tensors, path, metadata=about | (metadata or {}))


def test_file_of_another_format(network, tmp_path):
    resave(network, tmp_path / "x", metadata={"format": "other"})
    with pytest.raises(ValueError, match="is not a SpikeLoom network; make one with `spikeloom quantize`"):
        Network.load(tmp_path / "x")


def test_a_file_of_a_newer_version_says_what_to_do(network, tmp_path):
    resave(network, tmp_path / "x", metadata={"version": "7"}, header=lambda header: header.update(unheard=1))
    with pytest.raises(ValueError) as error:
        Network.load(tmp_path / "x")
    said = "x was written by a newer version of SpikeLoom, in format 7; this program reads up to 2: update SpikeLoom"
    assert str(error.value).endswith(said)


@pytest.mark.parametrize("version", ["", "one", "0", "-1", "1.5"])
def test_a_file_without_a_version(network, tmp_path, version):
    resave(network, tmp_path / "x", metadata={"version": version})
    with pytest.raises(ValueError, match=f"x has no format version: it must be in 1..2, not '{version}'"):
        Network.load(tmp_path / "x")


def test_a_file_of_version_1_is_brought_up_to_date(network, tmp_path):
    """As it was first written: without integer spikes, membrane shortcuts, frames and codings."""

    def older(header):
        for key in ("padding_pixel", "frame", "coding"):
            del header[key]
        for layer in header["layers"]:
            del layer["neuron"]["levels"]
            for key in ("depthwise", "whole_map", "pool_first", "fires"):
                del layer[key]

    resave(network, tmp_path / "x", metadata={"version": "1"}, header=older)
    assert_same(Network.load(tmp_path / "x"), network)
    resave(network, tmp_path / "y", header=older)  # a new file must say all of it
    with pytest.raises(ValueError, match="y: padding_pixel is missing"):
        Network.load(tmp_path / "y")


def test_a_file_of_version_1_keeps_what_it_says(tmp_path):
    """As it was last written: a frame is named where there is one."""
    network = random_network(3, residual="ms")
    padded = replace(network.layers[0], padding=0, height_in=10, width_in=10)
    framed = dict(layers=(padded, *network.layers[1:]), height=10, width=10, padding_pixel=(7,))
    network = replace(network, **framed)
    resave(network, tmp_path / "x", metadata={"version": "1"})
    assert_same(Network.load(tmp_path / "x"), network)


def test_file_with_a_missing_tensor(network, tmp_path):
    resave(network, tmp_path / "x", drop="rpe.bias")
    with pytest.raises(ValueError, match="layer 'rpe': tensor 'bias' is missing"):
        Network.load(tmp_path / "x")


def test_file_with_missing_weights(network, tmp_path):
    resave(network, tmp_path / "x", drop="rpe.weight")
    with pytest.raises(ValueError, match=r"layer 'rpe': weight must have shape \(8, 8, 3, 3\), not None"):
        Network.load(tmp_path / "x")


def test_file_with_a_broken_header(network, tmp_path):
    resave(network, tmp_path / "x", metadata={"network": "{"})
    with pytest.raises(ValueError, match="x: its header is no JSON: "):
        Network.load(tmp_path / "x")


@pytest.mark.parametrize(
    "tamper, message",
    [
        (lambda x: x.pop("layers"), "x: layers must be a list, not None"),
        (lambda x: x.pop("steps"), "x: steps is missing"),
        (lambda x: x.update(extra=1), "x: extra: unknown key; allowed: name, steps, channels, "),
        (lambda x: x["layers"][2].pop("height_in"), "x: layers.2.height_in is missing"),
    ],
)
def test_file_with_other_fields(network, tmp_path, tamper, message):
    resave(network, tmp_path / "x", header=tamper)
    with pytest.raises(ValueError, match=message):
        Network.load(tmp_path / "x")


def test_kind_is_checked(network):
    assert_refused(
        network, "rpe", "layer 'rpe': kind must be accumulate, attention, neurons or readout, not 'x'", kind="x"
    )


def test_group_is_checked(network):
    assert_refused(network, "rpe", "layer 'rpe': group must be one of sps, qkv, attn, mlp, head, not 'x'", group="x")


def test_number_of_inputs_is_checked(network):
    message = r"layer 'block.0.attn': attention takes 3 input\(s\), not 1"
    assert_refused(network, "block.0.attn", message, inputs=("block.0.q",))


def test_weight_bits_are_checked(network):
    assert_refused(network, "rpe", "layer 'rpe': weight_bits must be 4 or 8, not 5", weight_bits=5)


def test_attention_has_no_weights(network):
    assert_refused(network, "block.0.attn", "layer 'block.0.attn': attention has no weights", weight=np.zeros(1))


def test_heads_divide_channels(network):
    message = "layer 'block.0.attn': 8 channels cannot be split over 3 heads"
    assert_refused(network, "block.0.attn", message, heads=3)


def test_weights_fit_their_bits(network):
    weight = network.layer("rpe").weight.copy()
    weight[0, 0, 0, 0], weight[0, 0, 0, 1] = -9, 7
    weight = np.clip(weight, -9, 7)
    assert_refused(network, "rpe", r"layer 'rpe': weights must be in -8..7, not -9..7", weight=weight, weight_bits=4)


@pytest.mark.parametrize("key", ["bias", "threshold", "scale"])
def test_shapes_of_channel_tensors_are_checked(network, key):
    message = rf"layer 'rpe': {key} must have shape \(8,\), not \(7,\)"
    assert_refused(network, "rpe", message, **{key: np.zeros(7)})


@pytest.mark.parametrize("key", ["weight", "bias", "threshold"])
def test_integers_are_integers(network, key):
    value = getattr(network.layer("rpe"), key).astype(np.float32)
    assert_refused(network, "rpe", f"layer 'rpe': {key} must hold integers, not float32", **{key: value})


def test_readouts_are_plain(network):
    assert_refused(network, "head", "layer 'head': a readout has no pooling and no residual", pool=True)
    assert_refused(network, "head", "layer 'head': a readout runs all 4 steps of its input, not 3", steps=3)


@pytest.mark.parametrize("name, kind", [("head", "readout"), ("block.0.attn", "attention")])
@pytest.mark.parametrize("change", [dict(kernel=3, padding=1), dict(stride=2), dict(padding=1)])
def test_what_is_no_convolution_reads_each_position_alone(network, name, kind, change):
    message = f"layer '{name}': {kind} has kernel 1, stride 1 and padding 0, not "
    assert_refused(network, name, message, **change)


@pytest.mark.parametrize("key", ["channels_in", "channels_out", "height_in", "width_in", "kernel", "stride", "heads"])
@pytest.mark.parametrize("value", [0, -2])
def test_sizes_are_positive(network, key, value):
    assert_refused(
        network, "block.0.attn", f"layer 'block.0.attn': {key} must be at least 1, not {value}", **{key: value}
    )


def test_kernels_fit_their_input(network):
    message = "layer 'rpe': a kernel of 3 does not fit a map of 1x1 with padding 0"
    assert_refused(network, "rpe", message, height_in=1, width_in=1, padding=0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_are_finite_and_positive(network, value):
    scale = np.full(8, value)
    assert_refused(network, "rpe", "layer 'rpe': scale must be finite and above 0", scale=scale)


def test_names_are_unique(network):
    assert_refused(network, "rpe", "layer 'sps.1': the name is taken", name="sps.1")


def test_inputs_are_known(network):
    assert_refused(network, "rpe", "layer 'rpe': unknown input 'x'", inputs=("x",))


def test_input_shapes_are_checked(network):
    message = r"layer 'rpe': input 'sps.0' has shape \(4, 8, 8\), not \(8, 4, 4\)"
    assert_refused(network, "rpe", message, inputs=("sps.0",))


def test_attention_reads_spikes(network):
    message = "layer 'block.0.attn': input 'rpe' must be spikes, not sums up to 2"
    assert_refused(network, "block.0.attn", message, inputs=("rpe", "block.0.k", "block.0.v"))


def test_residuals_are_known(network):
    assert_refused(network, "rpe", "layer 'rpe': unknown residual 'x'", residual="x")


def test_residual_shapes_are_checked(network):
    message = r"layer 'rpe': residual 'sps.0' has shape \(4, 8, 8\), not \(8, 4, 4\), or the layer pools"
    assert_refused(network, "rpe", message, residual="sps.0")


def test_the_last_layer_is_a_readout(network):
    with pytest.raises(ValueError, match="the last layer must be a readout"):
        replace(network, layers=network.layers[:-1])


def test_only_the_last_layer_is_a_readout(network):
    with pytest.raises(ValueError, match="only the last layer can be a readout"):
        replace(network, layers=(*network.layers, network.layers[-1]))


def test_steps_are_at_most_the_networks(network):
    assert_refused(network, "rpe", "layer 'rpe': T_l must be in 0..4, not 5", steps=5)


def test_only_convolutions_read_the_image():
    network = random_network(0, channels=1, height=3, width=3, stem=(1,), pools=(False,), depth=0, heads=1)
    assert_refused(network, "head", "layer 'head': only a convolution can read the image", inputs=(IMAGE,))
