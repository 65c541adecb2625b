"""The accelerator: from 8-bit pixels to class sums."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from .ac_array import AcArray
from .activation_store import ActivationStore
from .activation_writer import ActivationWriter
from .config import CoreConfig
from .counters import Counters
from .event_scanner import EventScanner
from .host_port import HostPort
from .image_loader import ImageLoader
from .kv_store import KvStore
from .layouts import DESCRIPTOR_WORDS, WORD_BITS, Kind, job, parameters, spike_word, trace
from .loadable_memory import LoadableMemory
from .membrane_store import MembraneStore
from .neuron_unit import NeuronUnit
from .registers import HostBus
from .result_store import ResultStore
from .sequencer import Sequencer
from .weight_store import WeightStore

JOB_FIFO_DEPTH = 8
WORD_FIFO_DEPTH = 4


class Core(wiring.Component):
    """Runs a Program on one image at a time: equal to `golden.execute`, spike by spike.

    ::

        HostPort -> ImageLoader -> ActivationStore <----------- ActivationWriter
                                       |                               ^
        Sequencer -> items -> EventScanner -> WeightStore or KvStore   | spikes
            |                                       v                  |
            +------> jobs ----------------------> AcArray -> NeuronUnit <-> MembraneStore

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
            width=parameters(config).size, depth=config.parameter_words, init=parameter_words
        )
        self.weights = WeightStore(config=config, init=weight_rows)
        self.counters = Counters()
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
        m = Module()  # everything but the host's port, which resets it; memories keep their contents
        config = self.config
        m.submodules.sequencer = self.sequencer = Sequencer(config=config)
        m.submodules.program = self.program
        m.submodules.parameters = self.parameters
        m.submodules.image_loader = self.image_loader = ImageLoader(config=config)
        m.submodules.activations = self.activations = ActivationStore(config=config)
        m.submodules.scanner = self.scanner = EventScanner(config=config)
        m.submodules.weights = self.weights
        m.submodules.kv = self.kv = KvStore(config=config)
        m.submodules.array = self.array = AcArray(config=config)
        m.submodules.membranes = self.membranes = MembraneStore(config=config)
        m.submodules.neurons = self.neurons = NeuronUnit(config=config)
        m.submodules.writer = self.writer = ActivationWriter(config=config)
        m.submodules.results = self.results = ResultStore(config=config)
        m.submodules.counters = self.counters
        self.host_port = HostPort(config=config, program_info=self.program_info)
        self._connect_host(m)
        self._connect_program(m)
        self._connect_events(m)
        self._connect_neurons(m)
        self._connect_activations(m)
        self._connect_counters(m)
        top = Module()
        top.submodules.host_port = self.host_port
        top.submodules.engine = ResetInserter(self.host_port.abort)(m)
        return top

    def _connect_host(self, m):
        port, sequencer, results = self.host_port, self.sequencer, self.results
        wiring.connect(m, wiring.flipped(self.host), port.bus)
        wiring.connect(m, port.pixels, self.image_loader.pixels)
        m.d.comb += [
            sequencer.start.eq(port.start),
            port.busy.eq(sequencer.busy),
            port.done.eq(sequencer.done),
            port.fault.eq(sequencer.fault),
            port.image_loaded.eq(self.image_loader.done),
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
                memory.write_enable.eq(write),
                memory.write_address.eq(port.write_offset),
                memory.write_data.eq(port.write_data),
            ]

    def _connect_program(self, m):
        sequencer = self.sequencer
        m.d.comb += [
            self.program.read_enable.eq(sequencer.program_enable),
            self.program.read_address.eq(sequencer.program_address),
            sequencer.program_data.eq(self.program.read_data),
            self.image_loader.active.eq(sequencer.load_image),
            sequencer.image_loaded.eq(self.image_loader.done),
            *(unit.layer.eq(sequencer.layer) for unit in (self.image_loader, self.scanner, self.neurons, self.writer)),
            self.kv.head_shift.eq(sequencer.layer.head_shift),
        ]
        wiring.connect(m, sequencer.items, self.scanner.items)
        # jobs wait here while their sums are being accumulated
        layout = job(self.config)
        m.submodules.jobs = jobs = fifo.SyncFIFO(width=layout.size, depth=JOB_FIFO_DEPTH)
        m.d.comb += [
            jobs.w_data.eq(sequencer.jobs.payload),
            jobs.w_en.eq(sequencer.jobs.valid),
            sequencer.jobs.ready.eq(jobs.w_rdy),
            jobs.r_en.eq(~self.neurons.jobs.valid | self.neurons.jobs.ready),
            sequencer.job_finished.eq(self.neurons.finished),
            sequencer.quiet.eq(self.writer.idle & ~self.neurons.spikes.valid),
        ]
        # the job at hand decides about memory accesses: from registers, not through the queue's memory
        job_at_hand, has_job = Signal(layout), Signal()
        with m.If(jobs.r_en):
            m.d.sync += [job_at_hand.eq(jobs.r_data), has_job.eq(jobs.r_rdy)]
        m.d.comb += [self.neurons.jobs.payload.eq(job_at_hand), self.neurons.jobs.valid.eq(has_job)]

    def _connect_events(self, m):
        """Rows come from the weights, or in attention from K^T V."""
        scanner, weights, kv, array = self.scanner, self.weights, self.kv, self.array
        attention = self.sequencer.layer.kind == Kind.ATTENTION
        m.d.comb += [
            weights.events.payload.eq(scanner.events.payload),
            kv.events.payload.eq(scanner.events.payload),
            weights.events.valid.eq(scanner.events.valid & ~attention),
            kv.events.valid.eq(scanner.events.valid & attention),
            scanner.events.ready.eq(Mux(attention, kv.events.ready, weights.events.ready)),
            array.rows.payload.eq(Mux(attention, kv.rows.payload, weights.rows.payload)),
            array.rows.valid.eq(Mux(attention, kv.rows.valid, weights.rows.valid)),
            weights.rows.ready.eq(array.rows.ready & ~attention),
            kv.rows.ready.eq(array.rows.ready & attention),
        ]
        wiring.connect(m, array.sums, self.neurons.sums)

    def _connect_neurons(self, m):
        neurons, membranes, results = self.neurons, self.membranes, self.results
        m.d.comb += [
            self.parameters.read_enable.eq(neurons.parameter_enable),
            self.parameters.read_address.eq(neurons.parameter_address),
            neurons.parameter_data.eq(self.parameters.read_data),
            membranes.read_enable.eq(neurons.membrane_read_enable),
            membranes.read_address.eq(neurons.membrane_read_address),
            neurons.membrane_read_data.eq(membranes.read_data),
            membranes.write_enable.eq(neurons.membrane_write_enable),
            membranes.write_address.eq(neurons.membrane_write_address),
            membranes.write_data.eq(neurons.membrane_write_data),
            results.write_enable.eq(neurons.result_enable),
            results.write_address.eq(neurons.result_address),
            results.write_data.eq(neurons.result_data),
        ]
        # the writer takes several cycles for some words, and its readiness must not reach the neurons in one
        layout = spike_word(self.config)
        m.submodules.words = words = fifo.SyncFIFO(width=layout.size, depth=WORD_FIFO_DEPTH)
        m.d.comb += [
            words.w_data.eq(neurons.spikes.payload),
            words.w_en.eq(neurons.spikes.valid),
            neurons.spikes.ready.eq(words.w_rdy),
            self.writer.words.payload.eq(words.r_data),
            self.writer.words.valid.eq(words.r_rdy),
            words.r_en.eq(self.writer.words.ready),
        ]
        word = neurons.spikes.payload
        m.d.comb += [
            self.trace_valid.eq(neurons.spikes.valid & neurons.spikes.ready),
            self.trace_word.layer.eq(self.sequencer.layer.index),
            self.trace_word.spikes.eq(word.spikes),
            *(self.trace_word[key].eq(word.to[key]) for key in ("step", "tile", "position")),
        ]

    def _connect_activations(self, m):
        activations, scanner, writer, loader = self.activations, self.scanner, self.writer, self.image_loader
        loading = self.sequencer.load_image
        m.d.comb += [
            activations.scan_request.eq(scanner.read_request),
            activations.scan_address.eq(scanner.read_address),
            scanner.read_grant.eq(activations.scan_grant),
            scanner.read_data.eq(activations.read_data),
            activations.writer_request.eq(writer.read_request),
            activations.writer_address.eq(writer.read_address),
            writer.read_data.eq(activations.read_data),
            activations.write_enable.eq(Mux(loading, loader.write_enable, writer.write_enable)),
            activations.write_address.eq(Mux(loading, loader.write_address, writer.write_address)),
            activations.write_data.eq(Mux(loading, loader.write_data, writer.write_data)),
        ]

    def _connect_counters(self, m):
        config, array, neurons = self.config, self.array, self.neurons
        layer, increments, row = self.sequencer.layer, self.counters.increments, self.array.rows.payload
        taken = array.rows.valid & array.rows.ready
        applied = taken & row.gates.any()
        lanes = Mux(row.marker.tail, layer.tile_tail, config.lanes)
        spiking = sum(Mux(gate, lanes, 0) for gate in row.gates)
        silent = sum(Mux(gate, 0, lanes) for gate in row.gates)
        running = self.sequencer.busy & ~self.sequencer.load_image
        m.d.comb += [
            self.counters.clear.eq(self.host_port.start | self.image_loader.done),
            increments.cycles.eq(running),
            increments.array_cycles.eq(taken),
            increments.scan_wait_cycles.eq(running & ~array.rows.valid),
            increments.neuron_wait_cycles.eq(running & array.rows.valid & ~array.rows.ready),
            increments.events.eq(applied),
            increments.sops_done.eq(Mux(applied, spiking, 0)),
            increments.sops_gated.eq(Mux(applied, silent, 0) if config.columns > 1 else 0),
            increments.rows_offered.eq(self.scanner.rows_offered),
            increments.kv_updates.eq(self.kv.updated),
            increments.words_read.eq(self.scanner.read_request & self.scanner.read_grant),
            increments.weight_rows_read.eq(self.weights.fetched),
            increments.membrane_reads.eq(neurons.membrane_read_enable),
            increments.membrane_writes.eq(neurons.membrane_write_enable),
            increments.spike_words.eq(neurons.spikes.valid & neurons.spikes.ready),
            self.layer_end.eq(self.sequencer.layer_end),
            self.trace_counts.eq(self.counters.counts),
        ]
