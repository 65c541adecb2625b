"""Settings and fixtures of all tests."""

import os
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable

from support.easy_pictures import instead_of_digits


def pytest_configure(config):
    # A component whose constructor refuses its parameters is never elaborated, rightly; the warning comes
    # from the garbage collector, at any time, where no filter of a test applies.
    Elaboratable._MustUse__silence = True


@pytest.fixture(scope="session", autouse=True)
def verilators_own_sources_are_compiled_once(tmp_path_factory):
    """Kept for all processes of a run: they are a third of what the compiler does for a core."""
    base = tmp_path_factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    script = Path(__file__).parent / "support" / "object-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBJCACHE", f"{script} {together / 'objects'}")
        yield


@pytest.fixture
def easy_digits():
    """The data set called digits is one that is learned in no time (`support.easy_pictures`)."""
    with instead_of_digits():
        yield
