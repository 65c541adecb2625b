"""The core's registers and memories on the host bus."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .counters import COUNTER_BITS, COUNTERS
from .layouts import WORD_BITS
from .registers import (
    ADDRESS_BITS,
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
SINGLE = [register for register in Register if register < Register.COUNTERS]  # those of one word

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

ACCESS = data.StructLayout(
    {
        "asked": 1,  # what follows is the host's, and not yet acknowledged
        "write": 1,
        "address": ADDRESS_BITS,
        "data": WORD_BITS,
        "inside": 1,  # the region has this word
        **{region.name.lower(): 1 for region in Region},  # which region it is in
        # which register, whether it is `inside` or not; pixels: and written
        **{register.name.lower(): 1 for register in SINGLE},
        "program_info": 1,
        "listed": WORD_BITS,  # the counter or the capability that is read
    }
)
"""An access, decoded: the first of the two stages of registers between the bus and what an access does."""

WRITES = data.StructLayout(
    {name: 1 for name in ("start", "abort", "watchdog", "info", "program", "parameters", "weights", "refused")}
)
"""What a write does: the second."""


class HostPort(wiring.Component):
    """Decodes the host bus (`registers`); each access takes three cycles, pixels until the core takes them.

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
    counts : In, the counters' values; those of an image from its second cycle on
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
        state, access, strobe = Signal(STATE, init={"watchdog": LONGEST_WATCHDOG}), Signal(ACCESS), Signal(WRITES)
        self._decode(m, access)
        waits = Signal()
        m.d.comb += waits.eq(access.asked & ~self.bus.acknowledge)
        offered = waits & access.pixels & access.inside & state.awaiting
        blocked = self._pixels(m, state, access, offered)
        m.d.sync += self.bus.acknowledge.eq(waits & ~blocked)
        begun = Signal()  # the rest of an image's last word is no loss
        m.d.sync += begun.eq(blocked & (state.pixel != 0))
        self._write(m, access, strobe, waits=waits, refusable=~offered & ~begun)
        self._run(m, state, access, strobe)
        self._read(m, state, access, strobe)
        return m

    def _decode(self, m, access):
        """What is asked for, a cycle later: it stays on the bus until it is acknowledged."""
        bus = self.bus
        region, offset = bus.address[REGION_SHIFT:], bus.address[:REGION_SHIFT]
        limit = Signal(range(max(self.words.values()) + 1))
        with m.Switch(region):
            for known, words in self.words.items():
                with m.Case(known):
                    m.d.comb += limit.eq(words)
        in_registers, register = region == Region.REGISTERS, offset[:REGISTER_BITS]
        asked = bus.request & ~bus.acknowledge
        m.d.sync += [
            access.asked.eq(asked),
            access.write.eq(bus.write),
            access.address.eq(bus.address),
            access.data.eq(bus.write_data),
            access.inside.eq(offset < limit),
            *(access[known.name.lower()].eq(region == known) for known in Region),
            *(access[single.name.lower()].eq(in_registers & (register == single)) for single in SINGLE),
            access.pixels.eq(asked & bus.write & in_registers & (register == Register.PIXELS)),
            access.program_info.eq(in_registers & offset[INFO_BIT]),
            access.listed.eq(self._listed(offset[:INFO_BIT])),
        ]

    def _listed(self, number):
        """Counters and capabilities by their register: a tree of two-way choices, as it suits LUTs."""
        words = [Const(0, WORD_BITS)] * (1 << INFO_BIT)
        for first, values in (
            (Register.COUNTERS, [self.counts.word_select(i, COUNTER_BITS) for i in range(len(COUNTERS))]),
            (Register.CAPABILITIES, [Const(value, WORD_BITS) for value in capabilities(self.config)]),
        ):
            words[first : first + len(values)] = values
        for bit in number:
            words = [Mux(bit, odd, even) for even, odd in zip(words[::2], words[1::2], strict=True)]
        return words[0]

    def _pixels(self, m, state, access, offered):
        """The pixels of the word that is offered, one after the other; true while it must stay."""
        m.d.comb += [
            self.pixels.payload.eq(access.data.word_select(state.pixel, PIXEL_BITS)),
            self.pixels.valid.eq(offered),
        ]
        with m.If(offered & self.pixels.ready):
            m.d.sync += state.pixel.eq(state.pixel + 1)  # ends as it began, at 0
        return offered & ~(self.pixels.ready & (state.pixel == WORD_BITS // PIXEL_BITS - 1))

    def _write(self, m, access, strobe, *, waits, refusable):
        """What a write does, for one cycle, that of its acknowledge."""
        does, idle = Signal(WRITES), Signal(init=1)
        m.d.sync += idle.eq(~self.busy & ~strobe.start | strobe.abort | self.abort)
        m.d.comb += [
            does.start.eq(access.control & (access.data[:2] == Control.START) & idle),
            does.abort.eq(access.control & access.data[1]),
            does.watchdog.eq(access.watchdog),
            does.info.eq(access.program_info & idle),
            *(does[region.name.lower()].eq(access[region.name.lower()] & idle) for region in PROGRAM_REGIONS),
        ]
        with m.If(waits & access.write & access.inside):
            m.d.sync += strobe.eq(does)
        with m.Else():
            m.d.sync += strobe.eq(0)
        done = access.inside & does.as_value().any()
        m.d.sync += strobe.refused.eq(waits & access.write & ~done & refusable)
        m.d.comb += [
            self.write_offset.eq(access.address),
            self.write_data.eq(access.data),
            self.program_write.eq(strobe.program),
            self.parameter_write.eq(strobe.parameters),
            self.weight_write.eq(strobe.weights),
            self.start.eq(strobe.start),
        ]

    def _run(self, m, state, access, strobe):
        """What STATUS says; the watchdog. Pixels never outlive the image that they were written for."""
        cycles = self.counts[:COUNTER_BITS]
        busy, done, fault, over, late = (Signal(name=name) for name in ("was_busy", "ends", "faults", "over", "late"))
        reached = cycles.bit_select(state.watchdog, 1) & (state.watchdog != 0)
        m.d.sync += [  # a cycle later
            busy.eq(self.busy),
            done.eq(self.done),
            fault.eq(self.fault),
            over.eq(self.done | self.fault | self.abort),
            late.eq(self.busy & busy & reached & ~self.abort),  # not yet in the first cycle: the counts are cleared
        ]
        expired = late & ~self.abort
        with m.If(strobe.refused & (state.refused != MOST_REFUSED)):
            m.d.sync += state.refused.eq(state.refused + 1)
        with m.If(strobe.watchdog):
            m.d.sync += state.watchdog.eq(access.data)
        with m.If(over | self.image_loaded):
            m.d.sync += [state.awaiting.eq(0), state.pixel.eq(0)]
        with m.If(done):
            m.d.sync += state.finished.eq(1)
        with m.If(fault):
            m.d.sync += state.bad_descriptor.eq(1)
        m.d.sync += self.abort.eq(strobe.abort | expired)
        with m.If(strobe.start | strobe.abort | expired):
            m.d.sync += [state.finished.eq(0), state.bad_descriptor.eq(0), state.timed_out.eq(~strobe.abort & expired)]
            m.d.sync += [state.awaiting.eq(strobe.start), state.pixel.eq(0)]
        with m.If(strobe.start | strobe.abort):
            m.d.sync += state.refused.eq(0)
        m.d.comb += self.finished.eq(state.finished)

    def _read(self, m, state, access, strobe):
        """What is read, in a register: it is known when the access is acknowledged."""
        m.submodules.info = store = memory.Memory(shape=WORD_BITS, depth=PROGRAM_INFO_WORDS, init=self.program_info)
        info_read, info_write = store.read_port(), store.write_port()
        total = Signal(WORD_BITS)
        with m.If(strobe.program | strobe.parameters | strobe.weights):
            m.d.sync += total.eq(total.rotate_left(1) ^ access.data ^ access.address)
        with m.If(strobe.abort):
            m.d.sync += total.eq(0)

        status = Cat(self.busy, state.finished, state.awaiting, state.bad_descriptor, state.timed_out)
        readable = (
            (access.identity, Const(IDENTITY, WORD_BITS)),
            (access.status, status | state.refused << REFUSED_SHIFT),
            (access.watchdog, state.watchdog),
            (access.checksum, total),
            (access.registers & ~access.program_info, access.listed),
            (access.results & state.finished, self.result_data),
            (access.program_info, info_read.data),
        )
        m.d.comb += [
            self.result_address.eq(self.bus.address),
            info_read.addr.eq(self.bus.address),
            info_read.en.eq(1),
            info_write.addr.eq(access.address),
            info_write.data.eq(access.data),
            info_write.en.eq(strobe.info),
        ]
        m.d.sync += self.bus.read_data.eq(0)
        with m.If(access.inside):
            m.d.sync += self.bus.read_data.eq(reduce(or_, (Mux(here, value, 0) for here, value in readable)))
