"""One bit of several: without a carry chain, since the sets are small."""

from amaranth.hdl import Cat, Value
from amaranth.utils import ceil_log2


def isolated(bits) -> Value:
    """The lowest set bit alone."""
    return Cat(bits[i] & ~bits[:i].any() if i else bits[0] for i in range(len(bits)))


def others(bits) -> Value:
    """All set bits but the lowest."""
    return Cat(bits[i] & bits[:i].any() if i else 0 for i in range(len(bits)))


def number(one_hot) -> Value:
    """Of the set bit of at most one; else 0."""
    size = len(one_hot)
    return Cat(Cat(one_hot[i] for i in range(size) if i >> b & 1).any() for b in range(ceil_log2(size)))
