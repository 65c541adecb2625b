"""Settings of all tests."""

from amaranth.hdl import Elaboratable


def pytest_configure(config):
    # A component whose constructor refuses its parameters is never elaborated, rightly; the warning comes
    # from the garbage collector, at any time, where no filter of a test applies.
    Elaboratable._MustUse__silence = True
