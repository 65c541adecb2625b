"""The generator: Network -> Plan -> Program -> Verilog -> bitstream, with estimates and reports."""
