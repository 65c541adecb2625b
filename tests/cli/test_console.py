"""Tables and bars away from a terminal: whole, whatever the width."""

import io
import json

import pytest
from rich.console import Console

from spikeloom.cli import console
from spikeloom.cli.main import run
from spikeloom.golden.zoo.shipped import catalogue


def test_a_piped_table_is_not_cut(capsys):
    assert run(["models"]) == 0
    out = capsys.readouterr().out
    for model in catalogue().values():
        (line,) = [x for x in out.splitlines() if x.split()[:1] == [model.name]]
        assert console.percent(model.accuracy) in line and line.rstrip().endswith(model.command)
    assert run(["models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["models"]) == len(catalogue())


@pytest.mark.parametrize("width", [80, 132])
def test_numbers_are_whole_on_a_narrow_terminal(width):
    columns = ["name", "architecture", "data", "accuracy", "T_avg", "parameters", "bytes", "made by"]
    row = [
        "cifar10",
        "spikformer",
        "cifar10",
        "68.08 %",
        "4.00",
        112_450,
        465_000,
        "spikeloom train " + 20 * "--set x=1 ",
    ]
    shown = Console(width=width, file=io.StringIO(), force_terminal=True)
    shown.print(console.table("Models", columns, [row], wraps="made by"))
    text = shown.file.getvalue()
    assert all(x in text for x in ("68.08 %", "112,450", "465,000", "spikformer"))


def test_a_piped_bar_shows_its_state(capsys):
    state = "epoch 39 of 40  accuracy 97.22 %  T_avg 2.25  loss 0.123"
    with console.bars() as shown:
        shown.bar("digits", 920)(920, 920, state)
    assert "920/920 " in (err := capsys.readouterr().err) and state in err
