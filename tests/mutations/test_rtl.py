"""Benches of broken components must fail: a mutation is one changed line of a component's source."""

import importlib.util
import sys
from pathlib import Path

import pytest

import spikeloom.rtl.core
from spikeloom.sim.regress import bench, run_case

# bench, class, old text, new text; each was seen to fail for the reason that the text tells
MUTATIONS = [
    (
        "ac_array",
        "AcArray",
        "clears.eq(before.over | before.kv | earlier.kv)",
        "clears.eq(before.kv | earlier.kv)",
    ),
    ("scan_cursor", "ScanCursor", "(at.x < field.width)", "(at.x <= field.width)"),
    ("ac_array", "AcArray", "adder.total[sign] & ~addend[sign]", "adder.total[sign]"),
    ("ac_array", "AcArray", "(~valid | self.takes)", "1"),
    ("scan_cursor", "ScanCursor", "at.turn.eq(at.turn + 1)", "at.turn.eq(at.turn)"),
    ("word_gatherer", "WordGatherer", "& (dirty | spikes)", "& spikes"),
    ("word_gatherer", "WordGatherer", "seen.eq(Mux(whole.first, 0, read.data))", "seen.eq(read.data)"),
    ("bank_splitter", "BankSplitter", "first = (bank - turn) % banks", "first = bank"),
    ("bank_splitter", "BankSplitter", "into.end.eq(marked & ends)", "into.end.eq(marked)"),
    ("event_scanner", "EventScanner", "Cat(emitters).all()", "emitters[0]"),
    ("bit_emitter", "BitEmitter", "event.end.eq(chosen.end & ends)", "event.end.eq(chosen.end)"),
    ("bit_emitter", "BitEmitter", "level <= DEPTH - EVENTS_IN_FLIGHT", "level <= DEPTH"),
    ("bit_emitter", "BitEmitter", "words.count <= DEPTH - SUB_WORDS_IN_FLIGHT", "words.count < DEPTH"),
    ("bank_heads", "BankHeads", "all_wait.eq(waits.all())", "all_wait.eq(waits.any())"),
    ("bank_heads", "BankHeads", "following.eq(places + self.sums_taken - over)", "following.eq(places + 1 - over)"),
    ("bank_heads", "BankHeads", "Mux(first, isolated(kv), before)", "isolated(kv)"),
    ("bank_heads", "BankHeads", "[left.eq(wait), written.eq(0)]", "left.eq(wait)"),
    ("product_writer", "ProductWriter", "for i in range(LATENCY + stages(config))", "for i in range(LATENCY)"),
    ("weight_store", "WeightStore", "self.init[b :: config.banks]", "self.init[: config.bank_rows]"),
    ("neuron_unit", "NeuronUnit", "enable.eq(go & word.reads)", "enable.eq(go)"),
    ("neuron_unit", "NeuronUnit", "word.last_column & ~word.keep", "word.last_column"),
    ("neuron_unit", "NeuronUnit", "wait.eq(FENCE - 1 - number)", "wait.eq(FENCE - 2 - number)"),
    ("neuron_unit", "NeuronUnit", "number.eq(Mux(fence, 0, since))", "number.eq(since)"),
    ("neuron_unit", "NeuronUnit", "QUEUE_DEPTH - STAGES", "QUEUE_DEPTH"),
    ("neuron_unit", "NeuronUnit", "control.biased.eq(~readout | word.first)", "control.biased.eq(1)"),
    ("neuron_unit", "NeuronUnit", "control.fires.eq(~readout & word.active)", "control.fires.eq(~readout)"),
    ("neuron_lane", "NeuronLane", "neuron.strict & ~self.first", "neuron.strict"),
    ("neuron_lane", "NeuronLane", "Mux(self.first, 0, self.kept)", "self.kept"),
    ("neuron_lane", "NeuronLane", "~excess.total[-1]", "~excess.total[-2]"),
    ("neuron_lane", "NeuronLane", "(~neuron.hard | neuron.strict)", "~neuron.hard"),
    ("sum_selector", "SumSelector", "(self.word == word) & (self.column == column)", "self.word == word"),
    ("sum_selector", "SumSelector", "(gated[:first], gated[first:])", "(gated[:first], gated[first + 1 :])"),
    ("image_loader", "ImageLoader", "Mux(inside, read.data, 0)", "read.data"),
    ("image_slicer", "ImageSlicer", "of_tap = valid & ", "of_tap = "),
    ("image_slicer", "ImageSlicer", "valid & exist[tap].replicate(config.gates)", "valid"),
    ("scan_cursor", "ScanCursor", "direct & (at.word != 0)", "direct"),
    ("activation_writer", "ActivationWriter", "carried.eq(old & carry)", "carried.eq(old | carry)"),
    ("activation_writer", "ActivationWriter", "Mux(far, written.spikes, 0)", "0"),
    ("activation_writer", "ActivationWriter", "(~near | fetched.reads)", "~near"),
    ("time_mask", "TimeMaskController", "(step < layer.steps_in)", "(step <= layer.steps_in)"),
    ("sequencer", "Sequencer", "(outstanding == 0) & self.quiet", "outstanding == 0"),
    ("scan_cursor", "ScanCursor", "self.slots.valid.eq(started & self.room)", "self.slots.valid.eq(started)"),
    ("event_counts", "EventCounts", "(rows << width) - spiking", "rows - spiking"),
    ("layer_loops", "LayerLoops", "over.eq(place.ends.layer)", "over.eq(0)"),
    ("layer_loops", "LayerLoops", "last_x.eq((layer.width - 1)", "last_x.eq(layer.width"),
    ("layer_loops", "LayerLoops", "step.key + layer.key.step", "step.key + layer.input.step"),
]


def mutant(path: Path, name: str, old: str, new: str):
    """The class of a component's file with the old text replaced."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old!r}"
    module_name = f"spikeloom.rtl.core.mutant_{path.stem}"
    spec = importlib.util.spec_from_loader(module_name, loader=None)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        exec(compile(text.replace(old, new), f"mutant of {path.name}", "exec"), module.__dict__)
    finally:
        del sys.modules[module_name]
    return getattr(module, name)


@pytest.mark.slow
@pytest.mark.parametrize("name, component, old, new", MUTATIONS, ids=[f"{m[0]}-{m[3]}" for m in MUTATIONS])
def test_bench_sees_it(name, component, old, new, monkeypatch):
    path = Path(spikeloom.rtl.core.__file__).parent / f"{name}.py"
    module = bench(name)
    monkeypatch.setattr(module, component, mutant(path, component, old, new))
    monkeypatch.setenv("COCOTB_MAX_FAILURES", "1")  # one that sees it is enough
    case = module.CASES[min(1, len(module.CASES) - 1)]
    result = run_case(name, case)
    assert not result.passed
    assert "failed" in result.message, result.message
