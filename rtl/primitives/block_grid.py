"""Block memories of the ECP5 side by side and one behind the other."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from .dp16kd import SHAPES, Dp16kd
from .ports import MemorySharedPort


def grid_shape(depth, width, shapes=SHAPES):
    """Words and bits of the blocks of which the fewest hold a memory; of equals the deepest: less to choose among."""
    return min(shapes, key=lambda shape: (grid_blocks(depth, width, shape), -shape[0]))


def grid_blocks(depth, width, shape):
    """How many blocks of that shape hold a memory."""
    deep, wide = shape
    return -(-depth // deep) * -(-width // wide)


class BlockGrid(wiring.Component):
    """A memory of any size made of `Dp16kd`, two ports of latency 2.

    Where a memory is deeper than a block, blocks are enabled by the upper address bits, which come along for two
    cycles to choose the word.

    Parameters
    ----------
    depth, width : int
    init : sequence of int, at most `depth`
    one_way : bool
        Port A only writes, port B only reads: words of 36 bits are possible.

    Members
    -------
    a, b : In(MemorySharedPort)
    """

    def __init__(self, *, depth, width, init=(), one_way):
        self.depth, self.width, self.init = depth, width, list(init)
        self.shape = grid_shape(depth, width, SHAPES if one_way else SHAPES[1:])
        port = MemorySharedPort(max(1, ceil_log2(depth)), width)
        super().__init__({"a": In(port), "b": In(port)})

    def elaborate(self, platform):
        m = Module()
        deep, wide = self.shape
        low_bits = deep.bit_length() - 1
        levels = range(-(-self.depth // deep))
        columns = range(-(-self.width // wide))
        blocks = [[self._block(m, level, column) for column in columns] for level in levels]
        for name in "ab":
            port = getattr(self, name)
            address, level_of = port.address[:low_bits], port.address[low_bits:]
            words = []
            for level in levels:
                enable = Signal(name=f"enable_{name}{level}")
                m.d.comb += enable.eq(port.enable & (level_of == level))
                for column, block in enumerate(blocks[level]):
                    pins = getattr(block, name)
                    m.d.comb += [
                        pins.enable.eq(enable),
                        pins.write.eq(port.write),
                        pins.address.eq(address),
                        pins.write_data.eq(port.write_data[wide * column :][:wide]),
                    ]
                words.append(Cat(getattr(block, name).data for block in blocks[level])[: self.width])
            m.d.comb += port.data.eq(self._chosen(m, name, words))
        return m

    def _block(self, m, level, column):
        deep, wide = self.shape
        rows = self.init[level * deep : (level + 1) * deep]
        block = Dp16kd(depth=deep, width=wide, init=[row >> wide * column & (1 << wide) - 1 for row in rows])
        m.submodules[f"block_{level}_{column}"] = block
        return block

    def _chosen(self, m, name, words):
        """The word of the level that was accessed two cycles ago."""
        if len(words) == 1:
            return words[0]
        port = getattr(self, name)
        level_of = port.address[self.shape[0].bit_length() - 1 :]
        # as the blocks' own registers: they follow accesses alone, and no reset
        first, second = (Signal(len(level_of), name=f"level_{name}{i}", reset_less=True) for i in range(2))
        with m.If(port.enable):
            m.d.sync += first.eq(level_of)
        m.d.sync += second.eq(first)
        return Cat(*words, Const(0, 0)).word_select(second, self.width)
