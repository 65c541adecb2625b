"""What is done to Verilog before Verilator reads it."""

import re

from spikeloom.sim.verilator import with_short_initials


def initials(words):
    return "".join(f"    memory[{i}] = 8'h{word:02x};\n" for i, word in words)


def values(text):
    """What the words of the memory begin with."""
    found = {}
    for first, last, loop_value, index, value in re.findall(
        r"i = (\d+); i <= (\d+); i = i \+ 1\) memory\[i\] = 8'h(..);|memory\[(\d+)\] = 8'h(..);", text
    ):
        span = range(int(first), int(last) + 1) if first else [int(index)]
        found |= {i: int(loop_value or value, 16) for i in span}
    return found


def test_words_in_a_row_become_a_loop():
    words = list(enumerate([1, 2, *[0] * 50, 3, *[9] * 20, 0, 0]))
    text = with_short_initials("  initial begin\n" + initials(words) + "  end\n")
    assert values(text) == dict(words)
    assert text.count("\n") == 2 + 2 + 1 + 1 + 1 + 2
    assert "    for (integer i = 2; i <= 51; i = i + 1) memory[i] = 8'h00;\n" in text


def test_words_between_which_one_is_missing_stay():
    text = initials((i, 0) for i in range(40) if i != 20)
    assert with_short_initials(text) == text


def test_memories_are_told_apart():
    text = initials((i, 0) for i in range(9)) + initials((i, 0) for i in range(9)).replace("memory", "other")
    short = with_short_initials(text)
    assert short.count("for (") == 2 and "i <= 8; i = i + 1) other[i]" in short
