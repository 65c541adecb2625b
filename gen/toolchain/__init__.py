"""From Verilog to a bitstream on a board, with open tools."""
