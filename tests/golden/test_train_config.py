"""Configuration files: what is read, what is refused and how it is named, and the examples that ship."""

from dataclasses import replace
from pathlib import Path

import pytest

from spikeloom.golden.data import datasets
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training import run_config
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.masked_autoencoder import PretrainConfig
from spikeloom.golden.training.run_config import DataConfig, FinetuneConfig, MaskConfig, RunConfig, TrainConfig
from spikeloom.golden.training.train import DIGITS, DIGITS_RUN

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def load(tmp_path):
    def read(text, *overrides):
        path = tmp_path / "my-run.yaml"
        path.write_text(text)
        return run_config.load(path, overrides)

    return read


def test_defaults_and_the_name_of_the_file(load):
    assert load("") == RunConfig(name="my-run") == load("# nothing\n")
    assert load("name: other").name == "other"


def test_values_of_every_kind(load):
    found = load(
        """
        data: {name: fashion, folder: /x, train_images: 100}
        model: {height: 28, width: 28, pools: [true, false, true, false], neuron: dts, threshold: 1, dynamic: yes}
        augment: {crop: 2, flip: true, mixup: .5, mix_epochs: null}
        train: {learning_rate: 1e-3, min_learning_rate: 1.0e-5, clip: 5, ema: null, precision: bfloat16}
        masks: {groups: [sps], weight: 2E-2}
        """
    )
    assert found == RunConfig(
        name="my-run",
        data=DataConfig(name="fashion", folder="/x", train_images=100),
        model=SpikformerConfig(
            height=28, width=28, pools=(True, False, True, False), neuron="dts", threshold=1.0, dynamic=True
        ),
        augment=Augmentation(crop=2, flip=True, mixup=0.5),
        train=TrainConfig(learning_rate=1e-3, min_learning_rate=1e-5, clip=5.0, precision="bfloat16"),
        masks=MaskConfig(groups=("sps",), weight=0.02),
    )
    assert isinstance(found.model.threshold, float) and isinstance(found.train.clip, float)


def test_overrides_win(load):
    found = load("train: {epochs: 9, seed: 4}", "train.epochs=3", "model.pools=[1, 0]", "model.pools=[no,no,yes,no]")
    assert (found.train.epochs, found.train.seed, found.model.pools) == (3, 4, (False, False, True, False))
    assert load("", "data.folder=null", "augment.mixup=1e-1").augment.mixup == 0.1


@pytest.mark.parametrize(
    "text, overrides, expected",
    [
        ("epochs: 3", (), "epochs: unknown key; allowed: name, architecture, data, model, augment, train, masks"),
        ("train: {epoch: 3}", (), "train.epoch: unknown key; allowed: epochs, batch_size"),
        ("train: {epochs: three}", (), "train.epochs must be an integer, not 'three'"),
        ("train: {epochs: 3.5}", (), "train.epochs must be an integer, not 3.5"),
        ("train: {epochs: true}", (), "train.epochs must be an integer, not True"),
        ("train: {learning_rate: fast}", (), "train.learning_rate must be a number, not 'fast'"),
        ("train: {compile: 1}", (), "train.compile must be true or false, not 1"),
        ("data: {folder: 3}", (), "data.folder must be text, not 3"),
        ("model: {neuron: izhikevich}", (), "model.neuron must be one of spikingjelly, dts, not 'izhikevich'"),
        ("masks: {groups: [qkv, head]}", (), r"masks.groups.1 must be one of sps, qkv, attn, mlp, not 'head'"),
        ("masks: {groups: qkv}", (), "masks.groups must be a list, not 'qkv'"),
        ("model: {pools: [true]}", (), "model.pools must have 4 items, not 1"),
        ("model: {dim: 16, heads: 3}", (), r"model.dim must be a multiple of heads \(3\), not 16"),
        ("train: {epochs: 0}", (), "train.epochs must be at least 1, not 0"),
        ("train: {clip: -1}", (), "train.clip must be above 0, not -1"),
        ("train: {ema: 1}", (), "train.ema must be below 1, not 1"),
        ("train: {weight_decay: -1}", (), "train.weight_decay must be at least 0, not -1"),
        ("train: {label_smoothing: 1}", (), "train.label_smoothing must be below 1, not 1"),
        ("train: {min_learning_rate: 1}", (), "train.min_learning_rate must be at most learning_rate, not 1.0"),
        ("augment: {erase: 2}", (), "augment.erase must be at most 1, not 2"),
        ("augment: {magnitude: 11}", (), "augment.magnitude must be at most 10, not 11"),
        ("augment: {crop: -1}", (), "augment.crop must be at least 0, not -1"),
        ("data: {size: 0}", (), "data.size must be at least 1, not 0"),
        ("name: a/b", (), "name must be letters, digits, dots and dashes, not 'a/b'"),
        ("train: 3", (), r"train must have keys of its own \(epochs, .*\), not 3"),
        ("[1]", (), r"my-run.yaml must hold keys and values \(name, .*\), not \[1\]"),
        ("a: [", (), "my-run.yaml, line 1: no valid YAML: "),
        ("train: {epochs: 1, epochs: 2}", (), "the key 'epochs' comes twice, again in line 1"),
        ("x: !!python/object:os.system {}", (), "no valid YAML: could not determine a constructor"),
        ("", ("train.epochs",), "--set must be KEY=VALUE, as in train.epochs=3, not 'train.epochs'"),
        ("", ("=3",), "--set must be KEY=VALUE"),
        ("name: a", ("name.b=3",), "name has no keys of its own: 'name.b=3'"),
        ("", ("train.epochs=[",), "--set train.epochs, line 1: no valid YAML"),
        ("", ("train.epochs=x",), "train.epochs must be an integer, not 'x'"),
    ],
)
def test_mistakes_name_the_key(load, text, overrides, expected):
    with pytest.raises((ValueError, TypeError), match=expected):
        load(text, *overrides)


@pytest.mark.parametrize(
    "made, expected",
    [
        (lambda: TrainConfig(epochs=0), "epochs must be at least 1, not 0"),
        (lambda: TrainConfig(epochs=True), "epochs must be an integer, not True"),
        (lambda: TrainConfig(learning_rate=float("nan")), "learning_rate must be a finite number, not nan"),
        (lambda: TrainConfig(ema=1.0), "ema must be below 1, not 1.0"),
        (lambda: DataConfig(name="mnist"), "name must be one of digits, fashion, .*, not 'mnist'"),
        (lambda: DataConfig(train_images=0), "train_images must be at least 1, not 0"),
        (lambda: MaskConfig(groups=("qkv", "head")), "groups.1 must be one of sps, qkv, attn, mlp, not 'head'"),
        (lambda: Augmentation(erase=2), "erase must be at most 1, not 2"),
        (lambda: PretrainConfig(hidden=1.0), "hidden must be below 1, not 1.0"),
        (lambda: FinetuneConfig(checkpoint="0", weight_bits=(4,)), "weight_bits.0 must be text, not 4"),
        (lambda: RunConfig(name=3), "name must be text, not 3"),
        (lambda: replace(TrainConfig(), batch_size=0), "batch_size must be at least 1, not 0"),
    ],
)
def test_constructors_refuse_what_files_are_refused_for(made, expected):
    with pytest.raises(ValueError, match=f"^{expected}$"):
        made()


def test_constructors_take_lists():
    assert MaskConfig(groups=["sps"]).groups == ("sps",)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*gone.yaml"):
        run_config.load(tmp_path / "gone.yaml")


def test_written_and_read_again(load):
    config = replace(RunConfig(name="x"), model=DIGITS, train=TrainConfig(learning_rate=1e-5, clip=0.1))
    assert load(run_config.to_yaml(config)) == config


def test_differences_are_named():
    one = RunConfig().as_dict()
    other = replace(RunConfig(name="x"), train=TrainConfig(seed=1), model=DIGITS).as_dict()
    changed = ["name", "model.neuron", "model.attention_threshold", "model.dynamic", "model.initial_steps"]
    assert run_config.differences(one, other) == [*changed, "train.seed"]
    assert run_config.differences(one, run_config.from_mapping(one).as_dict()) == []


# The examples.

RUNS = sorted(x for x in EXAMPLES.glob("*.yaml") if not x.stem.startswith("sweep_"))  # sweeps have tests of their own


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_examples_describe_models_that_can_be_made(path):
    config = run_config.load(path)
    assert config.name == path.stem
    sizes = {"digits": (1, 8), "fashion": (1, 28), "cifar10": (3, 32)}
    channels, side = sizes[config.data.name]
    assert (config.model.channels, config.model.height, config.model.width) == (channels, side, side)


def test_digits_example_is_what_ships():
    assert run_config.load(EXAMPLES / "digits.yaml") == DIGITS_RUN


def test_cifar10_example_is_the_papers_model():
    """9,330,874 parameters of the official code, less the LayerNorms it never uses and biases before batch norms."""
    model = Spikformer(run_config.load(EXAMPLES / "cifar10.yaml").model)
    biases = 4 * (4 * 384 + 4 * 384 + 384)  # q, k, v, proj; fc1; fc2 of four blocks
    assert sum(x.numel() for x in model.parameters()) == 9_330_874 - 6_144 - biases


def test_images_must_fit_the_model():
    parts = [datasets.load("digits", x) for x in ("train", "test")]
    config = RunConfig(model=SpikformerConfig(classes=9))
    with pytest.raises(ValueError, match="digits has more than 9 classes"):
        run_config.check_data(config, *parts)
    config = RunConfig(model=SpikformerConfig(height=9))
    with pytest.raises(ValueError, match=r"the images of digits are \(1, 8, 8\), not \(1, 9, 8\)"):
        run_config.check_data(config, *parts)
