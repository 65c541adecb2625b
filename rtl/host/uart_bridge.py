"""The host's serial line as an initiator on the core's bus."""

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..core.registers import ADDRESS_BITS, HostBus
from .serial import SerialReceiver, SerialTransmitter


class Command(IntEnum):
    """First byte of a frame."""

    WRITE = 0x01  # to consecutive words
    READ = 0x02  # from consecutive words
    WRITE_FIXED = 0x03  # all to one word
    READ_FIXED = 0x04  # all from one word


class _State(enum.Enum, shape=unsigned(3)):  # type: ignore[call-arg]
    COMMAND = 0
    LENGTH = 1
    ADDRESS = 2
    DATA = 3
    WRITE = 4
    READ = 5
    SEND = 6
    DISCARD = 7


class _Frame:
    """What is known of a frame, in registers of their own: as one layout they take six LUTs more on the ECP5."""

    def __init__(self) -> None:
        self.fixed = Signal()  # all words have one address
        self.read = Signal()
        self.words = Signal(8)  # still to come
        self.byte = Signal(2)  # of an address or a word; the most significant comes first
        self.address = Signal(ADDRESS_BITS)
        self.word = Signal(32)


LAST_BYTE = 3


class _Frames(wiring.Component):
    """Frames of bytes to accesses of the bus: `UartBridge` without the serial line."""

    def __init__(self, *, timeout: int) -> None:
        self.timeout = timeout
        super().__init__(
            {
                "received": In(stream.Signature(8)),
                "error": In(1),
                "sent": Out(stream.Signature(8)),
                "host": Out(HostBus()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        state, frame = Signal(_State), _Frame()
        m.d.comb += [
            self.host.request.eq((state == _State.WRITE) | (state == _State.READ)),
            self.host.write.eq(state == _State.WRITE),
            self.host.address.eq(frame.address),
            self.host.write_data.eq(frame.word),
            self.sent.valid.eq(state == _State.SEND),
            self.sent.payload.eq(frame.word[24:]),
            self.received.ready.eq(~self.host.request & (state != _State.SEND)),
        ]
        taken = self.received.valid & self.received.ready
        given = self.sent.valid & self.sent.ready
        done = self.host.request & self.host.acknowledge

        with m.If(taken | given):
            m.d.sync += frame.byte.eq(frame.byte + 1)
        with m.If(done):
            m.d.sync += [
                frame.address.eq(Mux(frame.fixed, frame.address, frame.address + 1)),
                frame.words.eq(frame.words - 1),
            ]
        with m.Switch(state):
            self._head(m, state, frame, taken)
            self._words(m, state, frame, taken=taken, given=given, done=done)
        self._recover(m, state, progress=taken | given | done)
        return m

    def _head(self, m, state, frame, taken) -> None:
        """Command, number of words and address."""
        byte = self.received.payload
        with m.Case(_State.COMMAND):
            m.d.sync += frame.byte.eq(0)
            with m.If(taken):
                m.d.sync += state.eq(_State.DISCARD)
                for command in Command:
                    with m.If(byte == command):
                        m.d.sync += [
                            frame.fixed.eq(command in (Command.WRITE_FIXED, Command.READ_FIXED)),
                            frame.read.eq(command in (Command.READ, Command.READ_FIXED)),
                            state.eq(_State.LENGTH),
                        ]
        with m.Case(_State.LENGTH):
            m.d.sync += [frame.words.eq(byte), frame.byte.eq(0)]
            with m.If(taken):
                m.d.sync += state.eq(Mux(byte == 0, _State.DISCARD, _State.ADDRESS))
        with m.Case(_State.ADDRESS), m.If(taken):
            m.d.sync += frame.address.eq(Cat(byte, frame.address)[:ADDRESS_BITS])
            with m.If((frame.byte == 0) & (byte >> ADDRESS_BITS - 24 != 0)):
                m.d.sync += state.eq(_State.DISCARD)  # there is no such address
            with m.Elif(frame.byte == LAST_BYTE):
                m.d.sync += state.eq(Mux(frame.read, _State.READ, _State.DATA))

    def _words(self, m, state, frame, *, taken, given, done) -> None:
        """What is written to the bus, or read from it."""
        last = frame.byte == LAST_BYTE
        with m.Case(_State.DATA), m.If(taken):
            m.d.sync += frame.word.eq(Cat(self.received.payload, frame.word)[:32])
            with m.If(last):
                m.d.sync += state.eq(_State.WRITE)
        with m.Case(_State.WRITE), m.If(done):
            m.d.sync += state.eq(Mux(frame.words == 1, _State.COMMAND, _State.DATA))
        with m.Case(_State.READ), m.If(done):
            m.d.sync += [frame.word.eq(self.host.read_data), state.eq(_State.SEND)]
        with m.Case(_State.SEND), m.If(given):
            m.d.sync += frame.word.eq(frame.word << 8)
            with m.If(last):
                m.d.sync += state.eq(Mux(frame.words == 0, _State.COMMAND, _State.READ))

    def _recover(self, m, state, *, progress) -> None:
        """Errors and silence end a frame, whatever its state."""
        timer = Signal(range(self.timeout))
        with m.If(self.error):
            m.d.sync += [state.eq(_State.DISCARD), timer.eq(0)]
        with m.Elif(progress | (state == _State.COMMAND)):
            m.d.sync += timer.eq(0)
        with m.Elif(timer == self.timeout - 1):
            m.d.sync += [state.eq(_State.COMMAND), timer.eq(0)]
        with m.Else():
            m.d.sync += timer.eq(timer + 1)


class UartBridge(wiring.Component):
    """A serial line in, accesses of the core's bus out; frames as LiteX's uartbone has them.

    A frame: one byte `Command`; one byte number of words, 1 to 255; four bytes word address; for a write four
    bytes a word. A read is answered with four bytes a word, a write with nothing. Numbers are big-endian.

    Nothing is done for a frame with another command, no words, or an address above 28 bits: bytes are
    discarded until the line was silent for `timeout`. The same after a byte without a stop bit, and after a
    byte that came while the bus was busy (a host waits for an answer before it sends on). A frame that stops
    in its middle, and an access that is not acknowledged, end after `timeout` too: whatever happened, after
    that silence the next byte is a command. The words of a write that came before its frame broke are
    written.

    Throughput: one word in 4 bytes of the line, as long as the bus acknowledges within the time of a byte.

    Parameters
    ----------
    divisor : int, at least 4
        Clock cycles a bit of the line.
    timeout : int, more than 20 * divisor
        Clock cycles of silence that end a frame.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    host : Out(HostBus())

    Raises
    ------
    ValueError
        For a parameter out of range.
    Source
    ------
    litex.soc.cores.uart.Stream2Wishbone (the protocol, not the code). Departures: the time-out starts again
    with every byte instead of once a frame; wrong commands are discarded until silence.
    """

    def __init__(self, *, divisor: int, timeout: int) -> None:
        if not isinstance(timeout, int) or timeout <= 20 * divisor:
            raise ValueError(f"timeout must be above 20 * divisor = {20 * divisor} cycles, not {timeout!r}")
        self.divisor = divisor
        self.timeout = timeout
        self._receiver = SerialReceiver(divisor=divisor)
        self._transmitter = SerialTransmitter(divisor=divisor)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "host": Out(HostBus())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.frames = frames = _Frames(timeout=self.timeout)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            frames.error.eq(receiver.error),
        ]
        connect(m, receiver.bytes, frames.received)
        connect(m, frames.sent, transmitter.bytes)
        connect(m, frames.host, flipped(self.host))
        return m
