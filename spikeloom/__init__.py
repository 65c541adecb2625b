"""SpikeLoom: a trained spiking vision transformer becomes hardware that runs on an FPGA board."""

__version__ = "0.1.0"
