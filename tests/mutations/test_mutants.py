"""One changed line of the program must make a test fail: mutants of all folders (of rtl: test_rtl.py as well).

A mutant names the text that it changes and the cheapest test that must see it. Where a text has moved, the test says
so: name the new one.
"""

# ruff: noqa: E501

import pytest

from support.mutants import Mutant, survivors

GOLDEN, GEN, SIM, COMMON, CLI = (f"tests/{x}" for x in ("golden", "gen", "sim", "common", "cli"))
TRAIN = f"{GOLDEN}/test_train.py::test_"

MUTANTS = {
    "training": [
        Mutant("golden/training/training_loop.py", "label_smoothing=run.train.label_smoothing", "label_smoothing=0.0",
               f"{TRAIN}the_loss_smooths_labels"),
        Mutant("golden/training/training_loop.py", '"params": masks, "weight_decay": 0.0', '"params": masks, "weight_decay": decay',
               f"{TRAIN}weight_decay_is_of_matrices_and_kernels_alone"),
        Mutant("golden/training/training_loop.py", 'if x.dim() < 2], "weight_decay": 0.0', 'if x.dim() < 2], "weight_decay": decay',
               f"{TRAIN}weight_decay_is_of_matrices_and_kernels_alone"),
        Mutant("golden/training/training_loop.py", "            recalibrate(self.model", "            (lambda *_: None)(self.model",
               f"{TRAIN}batch_norms_end_with_the_statistics_of_the_final_weights"),
        Mutant("golden/training/evaluation.py", "norm.momentum = None  # cumulative average", "norm.momentum = 0.1",
               f"{TRAIN}recalibration_takes_the_statistics_of_all_images"),
        Mutant("golden/training/training_loop.py", "0.5 * (1 + math.cos", "0.5 * (1 - math.cos",
               f"{TRAIN}learning_rate_follows_warm_up_and_cosine"),
        Mutant("golden/training/training_loop.py", "            mask.project_()", "            pass",
               f"{TRAIN}the_parameters_of_all_masks_are_projected"),
        Mutant("golden/training/training_loop.py", "lerp_(x, 1 - run.train.ema)", "lerp_(x, run.train.ema)",
               f"{TRAIN}the_mean_of_the_weights_is_what_comes_out"),
        Mutant("golden/training/training_loop.py", "together[team.rank :: team.count]", "together",
               f"{TRAIN}processes_share_each_batch"),
        Mutant("golden/training/costs.py", "mask.mask().detach()[: len(steps)]", "mask.mask()[: len(steps)]", f"{GOLDEN}/test_costs.py"),
        Mutant("golden/training/costs.py", "detach()[: mask.steps or None]", "detach()", f"{GOLDEN}/test_costs.py"),
        Mutant("golden/training/augment.py", "share = 1 - float(inside.float().mean())", "pass",
               f"{GOLDEN}/test_train_augment.py"),
        Mutant("golden/training/augment.py", "(0.02 + (1 / 3 - 0.02)", "(0.02 + (1 / 1 - 0.02)",
               f"{GOLDEN}/test_train_augment.py"),
        Mutant("golden/training/masked_autoencoder.py", "hidden = 1 - keep.flatten(1)", "hidden = keep.flatten(1)",
               f"{GOLDEN}/test_masked_autoencoder.py::test_the_loss_is_that_of_the_hidden_patches"),
        Mutant("golden/training/sparse_convolution.py", "whole[mask] = y", "whole[...] = y.mean(0)",
               f"{GOLDEN}/test_sparse_convolution.py"),
        Mutant("common/schema.py", '"extra": "forbid"', '"extra": "ignore"',
               f"{GOLDEN}/test_train_config.py"),
    ],
    "models": [
        Mutant("golden/models/e_spikeformer_blocks.py", "torch.autocast(q.device.type, enabled=False)", "torch.autocast(q.device.type, torch.bfloat16)",
               f"{GOLDEN}/test_e_spikeformer.py::test_half_precision_reaches_convolutions_but_not_the_products_of_spikes"),
        Mutant("golden/models/e_spikeformer_blocks.py", "return 2 / math.sqrt(width)", "return 1 / math.sqrt(width)",
               f"{GOLDEN}/test_e_spikeformer.py::test_forward_equals_the_equations"),
        Mutant("golden/models/time_mask.py", "(scores > 0) & (scores < 2)", "(scores > 0) & (scores < 3)",
               f"{GOLDEN}/test_time_mask.py"),
        Mutant("golden/models/time_mask.py", "first[0] = 1", "first[-1] = 1", f"{GOLDEN}/test_time_mask.py"),
        Mutant("golden/models/time_mask.py", "self.tp[-1:].clamp_(min=LOWEST)", "pass", f"{GOLDEN}/test_time_mask.py"),
        Mutant("golden/models/neurons.py", "x if x.dtype == torch.float64 else x.float()", "x",
               f"{GOLDEN}/test_train_speed.py::test_half_precision_keeps_its_type_and_exact_potentials"),
        Mutant("golden/models/checkpoints.py", "model.eval()", "pass", f"{GOLDEN}/test_checkpoints.py"),
    ],
    "network": [
        Mutant("golden/network/neurons.py", "torch.gt(h, threshold, out=spikes[t]) if neuron.strict", "torch.ge(h, threshold, out=spikes[t]) if neuron.strict",
               f"{GOLDEN}/test_neurons.py"),
        Mutant("golden/network/neurons.py", "(u + 1 if neuron.strict else u) >> 1", "u >> 1", f"{GOLDEN}/test_neurons.py"),
        Mutant("golden/network/widths.py", "np.maximum(rows, 0).sum(1) * info.maximum", "np.maximum(rows, 0).max(1) * info.maximum",
               f"{GOLDEN}/test_widths.py"),
        Mutant("golden/quantization/scales.py", "unit = np.minimum(unit, threshold)", "pass", f"{GOLDEN}/test_scales.py"),
        Mutant("golden/quantization/scales.py", "(1.0, 0.5)", "(1.0,)",
               f"{GOLDEN}/test_scales.py"),
        Mutant("golden/data/published.py", "rows[:, label_bytes - 1]", "rows[:, 0]", f"{GOLDEN}/test_datasets.py"),
        Mutant("golden/data/datasets.py", "np.linspace(0, count - 1, limit)", "np.arange(limit)", f"{GOLDEN}/test_datasets.py"),
    ],
    "gen": [
        Mutant("gen/memory_map.py", "self.first <= other.last and other.first <= self.last", "self.first < other.last and other.first < self.last",
               f"{GEN}/test_compile.py"),
        Mutant("gen/memory_map.py", "layer.residual in layer.inputs", "False", f"{GEN}/test_compile.py"),
        Mutant("rtl/primitives/block_grid.py", "return min(shapes", "return max(shapes", f"{GEN}/test_resources.py"),
        Mutant("gen/resources.py", "if total > target.block_rams:", "if False:", f"{GEN}/test_resources.py"),
        Mutant("gen/plan.py", "len(self.tiles) * self.tile_rows", "self.tile_rows", f"{GEN}/test_compile.py"),
    ],
    "sim": [
        Mutant("sim/expected_counters.py", "q & k.any(axis=(3, 4), keepdims=True)", "q", f"{SIM}/test_expected_counters.py"),
        Mutant("sim/expected_counters.py", "once * max(plan.steps - 1, 0)", "once * plan.steps", f"{SIM}/test_expected_counters.py"),
        Mutant("sim/expected_counters.py", '"rows_skipped": offered - applied * tiles', '"rows_skipped": offered', f"{SIM}/test_expected_counters.py"),
    ],
    "common and cli": [
        Mutant("common/schema.py", '"strict": True', '"strict": False', f"{CLI}/test_bad_input.py"),
        Mutant("common/files.py", "aside.unlink(missing_ok=True)", "pass", f"{COMMON}/test_files.py"),
        Mutant("common/cache.py", 'and entry["inputs"] == _as_json(inputs)', "", f"{COMMON}/test_cache.py"),
        Mutant("common/cache.py", "record.unlink(missing_ok=True)", "pass", f"{COMMON}/test_cache.py"),
        Mutant("common/folders.py", 'kept if kept.strip(".") else', "kept if kept else", f"{CLI}/test_build_folder.py"),
        Mutant("cli/options.py", "default=x.default, annotation", "default=None, annotation", f"{CLI}/test_options.py"),
    ],
}  # fmt: skip


def test_there_are_enough():
    assert sum(map(len, MUTANTS.values())) >= 40


@pytest.mark.slow
def test_a_harmless_change_survives():
    """So what is said to be seen is the mutant."""
    harmless = [Mutant(x.path, x.old, f"({x.old})", x.test) for x in MUTANTS["models"] if x.old.startswith("x if")]
    (said,) = survivors(harmless)
    assert "survives" in said


@pytest.mark.slow
@pytest.mark.parametrize("folder", MUTANTS)
def test_no_mutant_survives(folder):
    assert survivors(MUTANTS[folder]) == []
