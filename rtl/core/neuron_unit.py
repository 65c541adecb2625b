"""Integrate, fire, reset and leak, in integers."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, Write, job, parameters, potentials, spike_word, sums


class NeuronUnit(wiring.Component):
    """Runs the neurons of a job, `neuron_lanes` a cycle: `golden.neurons.lif`, one step a job.

    ::

        H = U + sum + bias              (U = 0 at the first step)
        S = H >= threshold              (strict: H > threshold)
        R = S ? 0 : H                   (soft reset: H - threshold if S else H)
        U = R >> 1                      (strict: (R + 1) >> 1; without leak: R)

    A job reads and writes a potential at most once; nothing at the first step is read, nothing after the last is
    written, and a masked job touches no potential and fires nothing. A readout integrates without firing, adds the
    bias once, and sends its final potentials to the results.

    A word of `neuron_lanes` a cycle, latency 5. A job with `fence` starts when the jobs before it have left the
    pipeline, since it may need potentials that they write.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while jobs come
    jobs : In(stream of `layouts.job`)
    sums : In(stream of `layouts.sums`), one transfer a job
    parameter_enable, parameter_address : Out; parameter_data : In(layouts.parameters), one cycle later
    membrane_read_enable, membrane_read_address : Out; membrane_read_data : In, one cycle later
    membrane_write_enable, membrane_write_address, membrane_write_data : Out
    spikes : Out(stream of `layouts.spike_word`), one a column of a job
    result_enable, result_address, result_data : Out, words of class sums
    finished : Out(1), the last word of a job leaves the pipeline
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        result = max(1, ceil_log2(config.result_words))
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "jobs": In(stream.Signature(job(config))),
                "sums": In(stream.Signature(sums(config))),
                "parameter_enable": Out(1),
                "parameter_address": Out(config.parameter_width),
                "parameter_data": In(parameters(config)),
                "membrane_read_enable": Out(1),
                "membrane_read_address": Out(config.membrane_width),
                "membrane_read_data": In(potentials(config)),
                "membrane_write_enable": Out(1),
                "membrane_write_address": Out(config.membrane_width),
                "membrane_write_data": Out(potentials(config)),
                "spikes": Out(stream.Signature(spike_word(config))),
                "result_enable": Out(1),
                "result_address": Out(result),
                "result_data": Out(potentials(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(~self.spikes.valid | self.spikes.ready)
        issued = self._issue(m, advance)
        fetched = self._fetch(m, advance, issued)
        integrated = self._integrate(m, advance, fetched)
        fired = self._fire(m, advance, integrated)
        self._retire(m, advance, fired)
        m.d.comb += self.pipeline_empty.eq(
            ~issued["valid"] & ~fetched["valid"] & ~integrated["valid"] & ~fired["valid"]
        )
        return m

    def _stage(self, m, advance, before, name):
        """Registers that carry the control fields of `before` one stage on."""
        after = {key: Signal.like(value, name=f"{name}_{key}") for key, value in before.items()}
        with m.If(advance):
            m.d.sync += [after[key].eq(value) for key, value in before.items()]
        return after

    def _issue(self, m, advance):
        """Stage 0: one word of one column of the job; memory addresses go out."""
        config, now, layer = self.config, self.jobs.payload, self.layer
        words = config.neuron_words
        column, word = Signal(range(config.columns + 1)), Signal(range(words + 1))
        offset = Signal(config.address_width)  # of this column, from the job's
        readout = Signal()
        word_end, column_end, go = Signal(), Signal(), Signal()
        self.pipeline_empty = Signal()
        first, last = Signal(), Signal()
        to = Signal.like(now.to)
        m.d.comb += [
            readout.eq(layer.kind == Kind.READOUT),
            word_end.eq(~now.active | (word == now.words - 1)),
            column_end.eq(word_end & (column == now.columns - 1)),
            first.eq(now.first & (~readout | (column == 0))),
            last.eq(now.last & (~readout | (column == now.columns - 1))),
            go.eq(
                self.jobs.valid
                & self.sums.valid
                & (self.pipeline_empty | (word != 0) | ~(now.fence & ((column == 0) | readout)))
            ),
            self.jobs.ready.eq(go & advance & column_end),
            self.sums.ready.eq(self.jobs.ready),
            to.eq(now.to),
            to.position.eq(now.to.position + column),
            to.x.eq(now.to.x + column),
            to.offset.eq(now.to.offset + offset),
        ]
        with m.If(go & advance):
            m.d.sync += word.eq(Mux(word_end, 0, word + 1))
            with m.If(column_end):
                m.d.sync += [column.eq(0), offset.eq(0)]
            with m.Elif(word_end):
                m.d.sync += column.eq(column + 1)
                # two positions share a pooled word
                pooled = layer.write == Write.POOL
                m.d.sync += offset.eq(offset + Mux(pooled & ~to.x[0], 0, layer.tiles))

        membrane = Signal(config.membrane_width)
        position = Mux(readout, 0, to.position)
        m.d.comb += [
            membrane.eq((position << ceil_log2(words)) + word),
            self.parameter_enable.eq(advance),  # read whether needed or not: a short path to many memories
            self.parameter_address.eq(now.parameter + word),
            self.membrane_read_enable.eq(go & advance & now.active & ~first),
            self.membrane_read_address.eq(membrane),
        ]
        chosen = self.sums.payload[column] if config.columns > 1 else self.sums.payload[0]
        total = [
            chosen.as_value().word_select((word << ceil_log2(config.neuron_lanes)) | i, config.accumulator_width)
            for i in range(config.neuron_lanes)
        ]
        before = {
            "valid": go,
            "active": now.active,
            "first": first,
            "last": last,
            "final": now.final & (column == now.columns - 1),
            "word": word,
            "word_end": word_end,
            "job_end": column_end,
            "membrane": membrane,
            "to": to,
            "sums": Cat(total),
        }
        return self._stage(m, advance, before, "issued")

    def _fetch(self, m, advance, issued):
        """Stage 1: parameters and potentials come from block memories, too late in the cycle to add them."""
        readout = self.layer.kind == Kind.READOUT
        first = issued["first"]
        biases, thresholds, before = [], [], []
        for i in range(self.config.neuron_lanes):
            biases.append(Mux(readout & ~first, 0, self.parameter_data[i].bias)[: self.config.potential_width])
            thresholds.append(self.parameter_data[i].threshold)
            before.append(Mux(first, 0, self.membrane_read_data[i])[: self.config.potential_width])
        carried = issued | {"biases": Cat(biases), "thresholds": Cat(thresholds), "before": Cat(before)}
        return self._stage(m, advance, carried, "fetched")

    def _integrate(self, m, advance, fetched):
        """Stage 2: H = U + sum + bias."""
        config = self.config
        width = config.potential_width
        potential = []
        for i in range(config.neuron_lanes):
            total = fetched["sums"].word_select(i, config.accumulator_width).as_signed()
            bias, before = (fetched[key].word_select(i, width).as_signed() for key in ("biases", "before"))
            potential.append((before + bias + total)[:width])
        carried = {key: fetched[key] for key in fetched if key not in ("sums", "biases", "before")}
        return self._stage(m, advance, carried | {"potentials": Cat(potential)}, "integrated")

    def _fire(self, m, advance, integrated):
        """Stage 3: compare with the threshold, reset."""
        config, layer = self.config, self.layer
        width = config.potential_width
        silent = (layer.kind == Kind.READOUT) | ~integrated["active"]
        spikes, reset = [], []
        for i in range(config.neuron_lanes):
            potential = integrated["potentials"].word_select(i, width).as_signed()
            excess = Signal(signed(width + 1), name=f"excess_{i}")
            spike = Signal(name=f"spike_{i}")
            m.d.comb += [
                excess.eq(potential - integrated["thresholds"].word_select(i, width).as_signed()),
                spike.eq((excess >= 0) & ~(layer.neuron.strict & (excess == 0)) & ~silent),
            ]
            spikes.append(spike)
            reset.append(Mux(spike, Mux(layer.neuron.hard, 0, excess[:width]), potential.as_unsigned())[:width])
        carried = {key: integrated[key] for key in integrated if key not in ("potentials", "thresholds")}
        carried |= {"spikes": Cat(spikes), "reset": Cat(reset)}
        return self._stage(m, advance, carried, "fired")

    def _retire(self, m, advance, fired):
        """Stage 4: leak, write the potential, gather the spike word."""
        config, layer = self.config, self.layer
        width = config.potential_width
        readout = layer.kind == Kind.READOUT
        use = Signal()
        m.d.comb += [
            use.eq(fired["valid"] & advance),
            self.membrane_write_enable.eq(use & fired["active"] & ~fired["last"]),
            self.membrane_write_address.eq(fired["membrane"]),
            self.result_enable.eq(use & fired["final"]),
            self.result_address.eq((fired["to"].tile << ceil_log2(config.neuron_words)) + fired["word"]),
            self.finished.eq(use & fired["job_end"]),
        ]
        for i in range(config.neuron_lanes):
            reset = fired["reset"].word_select(i, width).as_signed()
            leaked = (reset + layer.neuron.strict) >> 1
            m.d.comb += [
                self.membrane_write_data[i].eq(Mux(layer.neuron.leak, leaked, reset)),
                self.result_data[i].eq(reset),
            ]
        gathered, joined = Signal(config.lanes), Signal(config.lanes)
        m.d.comb += joined.eq(Mux(fired["word"] == 0, 0, gathered))
        for word in range(config.neuron_words):
            with m.If(fired["word"] == word):
                m.d.comb += joined.word_select(word, config.neuron_lanes).eq(fired["spikes"])
        with m.If(use):
            m.d.sync += gathered.eq(joined)
        with m.If(advance):
            m.d.sync += [
                self.spikes.valid.eq(fired["valid"] & fired["word_end"] & ~readout),
                self.spikes.payload.spikes.eq(joined),
                self.spikes.payload.to.eq(fired["to"]),
            ]
