"""The core's registers and memories on the host bus."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .counters import COUNTER_BITS, COUNTERS
from .layouts import WORD_BITS
from .registers import (
    IDENTITY,
    LONGEST_WATCHDOG,
    MOST_REFUSED,
    PROGRAM_INFO_WORDS,
    REFUSED_SHIFT,
    REGION_SHIFT,
    Control,
    HostBus,
    Region,
    Register,
    capabilities,
    region_words,
)

PIXEL_BITS = 8
PROGRAM_REGIONS = (Region.PROGRAM, Region.PARAMETERS, Region.WEIGHTS)
REGISTER_WORDS = Register.PROGRAM_INFO + PROGRAM_INFO_WORDS
REGISTER_BITS = ceil_log2(REGISTER_WORDS)
INFO_BIT = ceil_log2(Register.PROGRAM_INFO)  # of an offset

STATE = data.StructLayout(
    {
        "awaiting": 1,  # an image
        "pixel": range(WORD_BITS // PIXEL_BITS),  # of the word at hand
        "finished": 1,  # class sums are there
        "bad_descriptor": 1,
        "timed_out": 1,
        "refused": range(MOST_REFUSED + 1),
        "watchdog": range(LONGEST_WATCHDOG + 1),
    }
)

WRITES = data.StructLayout(
    {name: 1 for name in ("start", "abort", "pixels", "watchdog", "info", "program", "parameters", "weights")}
)


class HostPort(wiring.Component):
    """Decodes the host bus (`registers`); each access takes two cycles, pixels until the core takes them.

    A write that does nothing is refused and counted: to the Program while the core is busy, beyond a memory's end,
    pixels that are not awaited. So a host never blocks the bus, and learns what was lost. Reads of what is not there
    give 0. What a write does is done in the cycle of its acknowledge. The word of four pixels stays on the bus until
    the last is taken, or the image ends: nothing is kept for the next.

    `abort` resets everything of the core but this port: when the host says so, and when the watchdog finds that an
    image takes 2^n cycles.

    Parameters
    ----------
    config : CoreConfig
    program_info : sequence of int, initial `registers.ProgramInfo`

    Members
    -------
    bus : In(HostBus)
    start, abort : Out(1); finished : Out(1), class sums are there
    busy, done, fault, image_loaded : In(1); fault: the Program ended at a bad descriptor
    pixels : Out(stream of unsigned(8))
    counts : In, the counters' values
    result_address : Out, of a class; result_data : In(32), one cycle later
    program_write, parameter_write, weight_write : Out(1); write_offset, write_data : Out

    Raises
    ------
    ValueError
        for a core with a memory that its region has no room for.
    """

    def __init__(self, *, config: CoreConfig, program_info=()):
        self.config = config
        self.words = {Region.REGISTERS: int(REGISTER_WORDS), **region_words(config)}
        self.program_info = list(program_info)
        super().__init__(
            {
                "bus": In(HostBus()),
                "start": Out(1),
                "abort": Out(1),
                "finished": Out(1),
                "busy": In(1),
                "done": In(1),
                "fault": In(1),
                "image_loaded": In(1),
                "pixels": Out(stream.Signature(PIXEL_BITS)),
                "counts": In(COUNTER_BITS * len(COUNTERS)),
                "result_address": Out(range(max(2, config.classes))),
                "result_data": In(WORD_BITS),
                "program_write": Out(1),
                "parameter_write": Out(1),
                "weight_write": Out(1),
                "write_offset": Out(REGION_SHIFT),
                "write_data": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus, state = self.bus, Signal(STATE, init={"watchdog": LONGEST_WATCHDOG})
        region, offset = bus.address[REGION_SHIFT:], bus.address[:REGION_SHIFT]
        does, strobe = Signal(WRITES), Signal(WRITES)  # what this write does: as decoded, then for one cycle
        access, blocked, inside = Signal(), Signal(), Signal()
        limit = Signal(range(max(self.words.values()) + 1))
        with m.Switch(region):
            for known, words in self.words.items():
                with m.Case(known):
                    m.d.comb += limit.eq(words)
        m.d.comb += [inside.eq(offset < limit), access.eq(bus.request & ~bus.acknowledge)]

        def at(register):
            return inside & (region == Region.REGISTERS) & (offset[:REGISTER_BITS] == register)

        written = bus.write_data
        m.d.comb += [
            does.start.eq(at(Register.CONTROL) & (written[:2] == Control.START) & ~self.busy),
            does.abort.eq(at(Register.CONTROL) & written[1]),
            does.pixels.eq(at(Register.PIXELS) & state.awaiting),
            does.watchdog.eq(at(Register.WATCHDOG)),
            does.info.eq((region == Region.REGISTERS) & inside & offset[INFO_BIT] & ~self.busy),
            *(does[r.name.lower()].eq((region == r) & inside & ~self.busy) for r in PROGRAM_REGIONS),
        ]
        m.d.sync += [
            bus.acknowledge.eq(access & ~blocked),
            strobe.eq(Mux(access & bus.write & ~blocked, does, 0)),
        ]
        m.d.comb += [
            self.write_offset.eq(offset),
            self.write_data.eq(written),
            self.program_write.eq(strobe.program),
            self.parameter_write.eq(strobe.parameters),
            self.weight_write.eq(strobe.weights),
            self.start.eq(strobe.start),
            self.finished.eq(state.finished),
        ]
        m.d.comb += blocked.eq(self._pixels(m, state, access & bus.write & does.pixels))
        begun = Signal()  # the rest of an image's last word is no loss
        m.d.sync += begun.eq(blocked & (state.pixel != 0))
        self._run(m, state, strobe=strobe, refused=access & bus.write & ~blocked & ~does.as_value().any() & ~begun)
        self._read(m, state, strobe=strobe, inside=inside)
        return m

    def _pixels(self, m, state, offered):
        """The pixels of the word that is offered, one after the other; true while it must stay."""
        m.d.comb += [
            self.pixels.payload.eq(self.bus.write_data.word_select(state.pixel, PIXEL_BITS)),
            self.pixels.valid.eq(offered),
        ]
        with m.If(offered & self.pixels.ready):
            m.d.sync += state.pixel.eq(state.pixel + 1)  # ends as it began, at 0
        return offered & ~(self.pixels.ready & (state.pixel == WORD_BITS // PIXEL_BITS - 1))

    def _run(self, m, state, *, strobe, refused):
        """What STATUS says; the watchdog. Pixels never outlive the image that they were written for."""
        cycles = self.counts[:COUNTER_BITS]
        expired = self.busy & (state.watchdog != 0) & cycles.bit_select(state.watchdog, 1) & ~self.abort
        with m.If(refused & (state.refused != MOST_REFUSED)):
            m.d.sync += state.refused.eq(state.refused + 1)
        with m.If(strobe.watchdog):
            m.d.sync += state.watchdog.eq(self.bus.write_data)
        with m.If(self.image_loaded | self.done | self.fault | self.abort):
            m.d.sync += [state.awaiting.eq(0), state.pixel.eq(0)]
        with m.If(self.done):
            m.d.sync += state.finished.eq(1)
        with m.If(self.fault):
            m.d.sync += state.bad_descriptor.eq(1)
        m.d.sync += self.abort.eq(strobe.abort | expired)
        with m.If(strobe.start | strobe.abort | expired):
            m.d.sync += [state.finished.eq(0), state.bad_descriptor.eq(0), state.timed_out.eq(~strobe.abort & expired)]
            m.d.sync += [state.awaiting.eq(strobe.start), state.pixel.eq(0)]
        with m.If(strobe.start | strobe.abort):
            m.d.sync += state.refused.eq(0)

    def _read(self, m, state, *, strobe, inside):
        bus = self.bus
        region, offset = bus.address[REGION_SHIFT:], bus.address[:REGISTER_BITS]
        m.submodules.info = store = memory.Memory(shape=WORD_BITS, depth=PROGRAM_INFO_WORDS, init=self.program_info)
        info_read, info_write = store.read_port(), store.write_port()
        total = Signal(WORD_BITS)
        with m.If(strobe.program | strobe.parameters | strobe.weights):
            m.d.sync += total.eq(total.rotate_left(1) ^ bus.write_data ^ bus.address)
        with m.If(strobe.abort):
            m.d.sync += total.eq(0)

        status = Signal(WORD_BITS)
        flags = Cat(self.busy, state.finished, state.awaiting, state.bad_descriptor, state.timed_out)
        m.d.comb += status.eq(flags | state.refused << REFUSED_SHIFT)
        nothing = Const(0, WORD_BITS)
        single = {Register.IDENTITY: Const(IDENTITY, WORD_BITS), Register.STATUS: status}
        single |= {Register.WATCHDOG: state.watchdog, Register.CHECKSUM: total}
        counts = [self.counts.word_select(i, COUNTER_BITS) for i in range(len(COUNTERS))]
        sizes = [Const(value, WORD_BITS) for value in capabilities(self.config)]
        chosen = Signal(WORD_BITS)
        with m.Switch(offset >> 4):
            with m.Case(0):
                m.d.comb += chosen.eq(Array(single.get(i, nothing) for i in range(16))[offset[:4]])
            with m.Case(1):
                m.d.comb += chosen.eq(Array([*counts, *[nothing] * (16 - len(counts))])[offset[:4]])
            with m.Case(2, 3):
                m.d.comb += chosen.eq(Array([*sizes, *[nothing] * (32 - len(sizes))])[offset[:5]])
        # the address stays to the end of the access: what is there is known by then
        from_registers, from_results, from_info = Signal(), Signal(), Signal()
        m.d.sync += [
            from_registers.eq(inside & (region == Region.REGISTERS)),
            from_results.eq(inside & (region == Region.RESULTS) & state.finished),
            from_info.eq(inside & (region == Region.REGISTERS) & offset[INFO_BIT]),
        ]
        m.d.comb += [
            self.result_address.eq(bus.address),
            info_read.addr.eq(offset),
            info_read.en.eq(1),
            info_write.addr.eq(offset),
            info_write.data.eq(bus.write_data),
            info_write.en.eq(strobe.info),
            bus.read_data.eq(
                Mux(from_registers, chosen, 0)
                | Mux(from_results, self.result_data, 0)
                | Mux(from_info, info_read.data, 0)
            ),
        ]
