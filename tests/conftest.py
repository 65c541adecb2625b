"""Settings and fixtures of all tests."""

import pytest
from amaranth.hdl import Elaboratable

from support.easy_pictures import instead_of_digits


def pytest_configure(config):
    # A component whose constructor refuses its parameters is never elaborated, rightly; the warning comes
    # from the garbage collector, at any time, where no filter of a test applies.
    Elaboratable._MustUse__silence = True


@pytest.fixture
def easy_digits():
    """The data set called digits is one that is learned in no time (`support.easy_pictures`)."""
    with instead_of_digits():
        yield
