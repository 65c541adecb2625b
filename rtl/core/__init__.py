"""The accelerator: one component a file, put together in `core`."""

CORE_MODULE = "spikeloom_core"
"""Name of the accelerator's Verilog module: what is written, simulated, synthesised and put behind a bridge."""
