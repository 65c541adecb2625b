"""The generator: Network -> memory map -> Program -> Verilog -> bitstream, with estimates and reports."""
