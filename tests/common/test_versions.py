"""The rule of versions: newer files are refused with what to do, older ones pass through each step in order."""

import pytest

from spikeloom.common.versions import check_version, upgrade


@pytest.mark.parametrize("version", [1, "1", 3, "3"])
def test_known_versions_pass(version):
    check_version(version, where="x", newest=3)


def test_a_newer_file_asks_for_an_update():
    message = "x was written by a newer version of SpikeLoom, in format 4; this program reads up to 3: update SpikeLoom"
    with pytest.raises(ValueError, match=message):
        check_version("4", where="x", newest=3)


@pytest.mark.parametrize("version", [None, "", "0", 0, -1, "1.0", "²", True, [1]])
def test_what_is_no_version(version):
    with pytest.raises(ValueError, match=r"x has no format version: it must be in 1\.\.3, not "):
        check_version(version, where="x", newest=3)


@pytest.mark.parametrize(("version", "wanted"), [(1, [1, 2]), ("2", [2]), (3, [])])
def test_each_step_from_the_files_version_on_is_taken_once(version, wanted):
    steps = {number: lambda header, number=number: header["taken"].append(number) for number in (1, 2)}
    header = {"taken": []}
    upgrade(header, version, steps)
    assert header["taken"] == wanted
