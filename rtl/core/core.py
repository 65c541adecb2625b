"""The accelerator: from 8-bit pixels to class sums."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ac_array import AcArray
from .activation_store import ActivationStore
from .activation_writer import ActivationWriter
from .config import CoreConfig
from .counters import Counters
from .event_counts import EventCounts
from .event_scanner import EventScanner
from .host_port import HostPort
from .image_loader import ImageLoader
from .layouts import DESCRIPTOR_WORDS, WORD_BITS, parameters, trace
from .loadable_memory import LoadableMemory
from .membrane_store import MembraneStore
from .neuron_unit import NeuronUnit
from .product_writer import ProductWriter
from .registers import HostBus
from .result_store import ResultStore
from .sequencer import Sequencer
from .weight_store import WeightStore


class Core(wiring.Component):
    """Runs a Program on one image at a time: equal to `golden.execute`, spike by spike.

    ::

        HostPort -> ImageLoader -> ActivationStore <----------- ActivationWriter
                                       |                               ^
        Sequencer -> items -> EventScanner -> WeightStore -> AcArray   | spikes
            |                                       ^           |  |    |
            |                                       +- K^T V ---+  v    |
            +------> jobs -------------------------------------> NeuronUnit <-> MembraneStore

    Parameters
    ----------
    config : CoreConfig
    program_words : sequence of int, 32-bit words of descriptors
    parameter_words : sequence of int, packed `layouts.parameters`
    weight_rows : sequence of int, packed rows
    program_info : sequence of int, `registers.ProgramInfo`
        Initial contents; a host can replace all four while the core is idle.

    Members
    -------
    host : In(HostBus), see `registers`
    busy, done : Out(1), done stays until the next start
    trace_valid : Out(1), trace_word : Out(layouts.trace), what neurons fire, as it happens; for simulation
    layer_end : Out(1), trace_counts : Out, the counters: for simulation
    """

    def __init__(self, *, config: CoreConfig, program_words=(), parameter_words=(), weight_rows=(), program_info=()):
        self.config = config
        self.program_info = program_info
        self.program = LoadableMemory(
            width=WORD_BITS, depth=config.program_layers * DESCRIPTOR_WORDS, init=program_words
        )
        self.parameters = LoadableMemory(
            width=parameters(config).size, depth=config.parameter_words, init=parameter_words, latency=2
        )
        self.weights = WeightStore(config=config, init=weight_rows)
        self.counters = Counters(config=config)
        super().__init__(
            {
                "host": In(HostBus()),
                "busy": Out(1),
                "done": Out(1),
                "trace_valid": Out(1),
                "trace_word": Out(trace(config)),
                "layer_end": Out(1),
                "trace_counts": Out(self.counters.counts.shape()),
            }
        )

    def elaborate(self, platform):
        top, config = Module(), self.config
        top.submodules.host_port = host_port = HostPort(config=config, program_info=self.program_info)
        wiring.connect(top, wiring.flipped(self.host), host_port.bus)
        m = Module()  # everything else, which the host's port resets; memories keep their contents
        top.submodules.engine = ResetInserter(host_port.abort)(m)
        m.submodules.program = self.program
        m.submodules.sequencer = Sequencer(config=config)
        m.submodules.image_loader = ImageLoader(config=config)
        m.submodules.activations = ActivationStore(config=config)
        m.submodules.scanner = EventScanner(config=config)
        m.submodules.weights = self.weights
        m.submodules.products = ProductWriter(config=config)
        m.submodules.array = AcArray(config=config)
        m.submodules.parameters = self.parameters
        m.submodules.membranes = MembraneStore(config=config)
        m.submodules.neurons = NeuronUnit(config=config)
        m.submodules.writer = ActivationWriter(config=config)
        m.submodules.results = ResultStore(config=config)
        m.submodules.event_counts = EventCounts(config=config)
        m.submodules.counters = self.counters
        self._connect_host(m, m.submodules, host_port)
        self._connect_program(m, m.submodules)
        self._connect_events(m, m.submodules)
        self._connect_neurons(m, m.submodules)
        self._connect_activations(m, m.submodules)
        self._connect_counters(m, m.submodules, host_port)
        return top

    def _connect_host(self, m, parts, port):
        sequencer, loader, results = parts.sequencer, parts.image_loader, parts.results
        wiring.connect(m, port.pixels, loader.pixels)
        m.d.comb += [
            sequencer.start.eq(port.start),
            port.busy.eq(sequencer.busy),
            port.done.eq(sequencer.done),
            port.fault.eq(sequencer.fault),
            port.image_loaded.eq(loader.done),
            port.counts.eq(self.counters.counts),
            results.read_address.eq(port.result_address),
            port.result_data.eq(results.read_data),
            self.busy.eq(sequencer.busy),
            self.done.eq(port.finished),
        ]
        for memory, write in (
            (self.program, port.program_write),
            (self.parameters, port.parameter_write),
            (self.weights, port.weight_write),
        ):
            m.d.comb += [
                memory.writes.enable.eq(write),
                memory.writes.address.eq(port.write_offset),
                memory.writes.data.eq(port.write_data),
            ]

    def _connect_program(self, m, parts):
        sequencer, loader = parts.sequencer, parts.image_loader
        wiring.connect(m, sequencer.program, self.program.reads)
        wiring.connect(m, sequencer.items, parts.scanner.items)
        wiring.connect(m, sequencer.jobs, parts.neurons.jobs)
        m.d.comb += [
            loader.active.eq(sequencer.load_image),
            sequencer.image_loaded.eq(loader.done),
            sequencer.job_finished.eq(parts.neurons.finished),
            sequencer.quiet.eq(parts.writer.idle),
            *(unit.layer.eq(sequencer.layer) for unit in (loader, parts.scanner, parts.neurons, parts.writer)),
            parts.products.head_shift.eq(sequencer.layer.head_shift),
        ]

    def _connect_events(self, m, parts):
        """Rows of weights to the array, and of K^T V back."""
        scanner, weights, products, array = parts.scanner, parts.weights, parts.products, parts.array
        m.d.comb += [
            weights.requests.eq(scanner.requests),
            products.requests.eq(scanner.requests),
            products.word.eq(scanner.value),
            array.rows.eq(weights.rows),
            array.values.eq(products.values),
            weights.written.eq(products.written),
            weights.cleared.eq(scanner.cleared),
            weights.products.eq(array.products),
            scanner.sums_taken.eq(array.sums.valid & array.sums.ready),
        ]
        wiring.connect(m, array.sums, parts.neurons.sums)
        m.d.comb += [parts.neurons.follows.eq(array.follows), array.takes.eq(parts.neurons.takes)]

    def _connect_neurons(self, m, parts):
        neurons = parts.neurons
        wiring.connect(m, neurons.parameters, self.parameters.reads)
        wiring.connect(m, neurons.membrane_reads, parts.membranes.reads)
        wiring.connect(m, neurons.membrane_writes, parts.membranes.writes)
        wiring.connect(m, neurons.results, parts.results.writes)
        wiring.connect(m, neurons.spikes, parts.writer.words)
        word = neurons.spikes.payload
        m.d.comb += [
            self.trace_valid.eq(neurons.spikes.valid & neurons.spikes.ready),
            self.trace_word.layer.eq(parts.sequencer.layer.index),
            self.trace_word.spikes.eq(word.spikes),
            *(self.trace_word[key].eq(word.to[key]) for key in ("step", "word", "position")),
        ]

    def _connect_activations(self, m, parts):
        activations, writer, loader = parts.activations, parts.writer, parts.image_loader
        wiring.connect(m, parts.scanner.words, activations.scanner)
        wiring.connect(m, writer.memory, activations.writer)
        with m.If(parts.sequencer.load_image):
            m.d.comb += [
                activations.writer.enable.eq(loader.writes.enable),
                activations.writer.write.eq(1),
                activations.writer.address.eq(loader.writes.address),
                activations.writer.write_data.eq(loader.writes.data),
            ]

    def _connect_counters(self, m, parts, port):
        neurons, sequencer, words = parts.neurons, parts.sequencer, parts.scanner.words
        increments, scanner, events = self.counters.increments, parts.scanner, parts.event_counts
        running, command = sequencer.busy & ~sequencer.load_image, parts.scanner.requests.command
        m.d.comb += [
            self.counters.clear.eq(port.start | parts.image_loader.done),
            increments.cycles.eq(running),
            increments.array_cycles.eq(scanner.busy),
            increments.neuron_wait_cycles.eq(running & scanner.holds_sums),
            increments.scan_wait_cycles.eq(running & ~scanner.busy & ~scanner.holds_sums),
            events.layer.eq(sequencer.layer),
            events.requests.eq(scanner.requests),
            increments.events.eq(events.rows),
            increments.weight_rows_read.eq(events.weight_rows),
            increments.sops_done.eq(events.done),
            increments.sops_gated.eq(events.gated),
            increments.kv_updates.eq(command.kv & ~command.carry),
            increments.rows_offered.eq(scanner.rows_offered),
            increments.words_read.eq(words.enable),
            increments.membrane_reads.eq(neurons.membrane_reads.enable),
            increments.membrane_writes.eq(neurons.membrane_writes.enable),
            increments.spike_words.eq(neurons.spikes.valid & neurons.spikes.ready),
            self.layer_end.eq(sequencer.layer_end),
            self.trace_counts.eq(self.counters.counts),
        ]
