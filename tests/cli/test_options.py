"""Options that go together are one dataclass of a command, and one option each on the command line."""

from dataclasses import dataclass, fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from spikeloom.cli.main import app
from spikeloom.cli.options import Core, Images, Sizes, Source, at_most, described, spread
from spikeloom.flow.quantization import Request

RUNNER = CliRunner()


@dataclass(frozen=True, kw_only=True)
class Pair:
    first: Annotated[int | None, typer.Option(min=1)] = None
    second: Annotated[str, typer.Option("--other", "-o")] = "b"


@dataclass(frozen=True, kw_only=True)
class Order:
    count: int = 2
    images: int | None = None
    kept: str = "k"


@pytest.fixture
def given():
    return []


@pytest.fixture
def small(given):
    """A command line with one command, whose arguments are in ``given``."""

    def command(name: str = "x", *, pair: Pair, core: Core, last: Annotated[int | None, at_most(5)] = None) -> None:
        """What it does."""
        given.append((name, pair, core, last))

    found = typer.Typer()
    found.command()(spread(command))
    return found


def test_a_group_is_its_options_with_their_defaults(small, given):
    assert RUNNER.invoke(small, []).exit_code == 0
    assert RUNNER.invoke(small, "--first 3 -o c --lanes 8 --board b --last 2 --name y".split()).exit_code == 0
    assert given == [("x", Pair(), Core(), None), ("y", Pair(first=3, second="c"), Core(lanes=8, board="b"), 2)]


def test_a_dataclass_that_knows_nothing_of_options_comes_with_them(given):
    """Those of its fields that are described; the types and defaults stay its own."""

    def command(*, order: Annotated[Order, described(count=typer.Option(min=1), images=Images)]) -> None:
        """What it does."""
        given.append(order)

    found = typer.Typer()
    found.command()(spread(command))
    assert RUNNER.invoke(found, []).exit_code == 0
    assert RUNNER.invoke(found, "--count 3 --images 7".split()).exit_code == 0
    assert given == [Order(), Order(count=3, images=7)]
    for line in ("--count 0", "--images 0", "--kept x"):
        assert RUNNER.invoke(found, line.split()).exit_code == 2


def test_every_field_of_a_quantisation_is_an_option():
    known = {x.name for x in typer.main.get_command(app).commands["quantize"].params}
    assert {x.name for x in fields(Request)} == known - {"checkpoint", "as_json"}


def test_limits_of_an_option_in_a_group_hold(small, given):
    assert RUNNER.invoke(small, ["--first", "0"]).exit_code == 2
    assert RUNNER.invoke(small, ["--columns", "two"]).exit_code == 2
    assert not given


def test_help_shows_what_the_command_says_in_the_order_of_its_parameters(small):
    shown = RUNNER.invoke(small, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "What it does." in shown and "Only the first N images. Default: 5 at most." in shown
    places = [shown.index(x) for x in ("--name", "--first", "--other", "--lanes", "--accumulator-width", "--board")]
    assert places == sorted(places) and places[-1] < shown.index("--last")


def test_every_command_that_places_a_network_takes_all_sizes():
    commands = typer.main.get_command(app).commands
    for name in ("compile", "generate", "estimate", "simulate", "classify", "energy", "build"):
        known = {option for parameter in commands[name].params for option in parameter.opts}
        wanted = {f"--{field.replace('_', '-')}" for field in Sizes.__dataclass_fields__}
        assert wanted | {"--board"} <= known, name


def test_every_command_that_reads_held_out_images_takes_a_data_set_and_its_folder():
    commands = typer.main.get_command(app).commands
    for name in ("quantize", "compile", "estimate", "simulate", "similarity", "energy"):
        known = {parameter.name for parameter in commands[name].params}
        assert set(Source.__dataclass_fields__) <= known, name
