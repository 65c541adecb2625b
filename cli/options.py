"""Options and arguments that several commands share: one alias for each, one dataclass for those that go together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from spikeloom.cli.console import note
from spikeloom.flow.cores import chosen_for
from spikeloom.flow.images import Samples, load_samples
from spikeloom.flow.simulation import MOST_SIMULATED as MOST_SIMULATED

if TYPE_CHECKING:
    from spikeloom.gen.compiler import Compiled
    from spikeloom.golden.network import Network

DEFAULT_MODEL = "digits"
DEFAULT_BOARD = "ulx3s-85f"


def at_most(most: int, what: str = "Only the first N images.") -> Any:
    """The option --images of a command that takes at most so many where the user does not say."""
    return typer.Option(min=1, metavar="N", help=f"{what} Default: {most} at most.")


Model = Annotated[
    str,
    typer.Argument(
        metavar="[MODEL]",
        help="A network (`spikeloom quantize`), a checkpoint (`spikeloom train`, quantised to 8 bits), "
        "or the name of a shipped model.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
Steps = Annotated[
    list[str] | None,
    typer.Option("--steps", metavar="LAYER=T", help="Other time steps for a layer; may be repeated."),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Held-out images of `digits`, `fashion`, `cifar10`, `cifar100` or `folder:DIR` (a folder for each class "
        "in DIR/val), `random`, or an .npz file: images, uint8 (n, C, H, W), and labels. "
        "Default: what the model was trained on.",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data-folder", metavar="DIR", help="Folder of the data set's files. Default: SPIKELOOM_DATA."),
]
Images = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N images.")]
SimulatedImages = Annotated[int | None, at_most(MOST_SIMULATED)]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="Where to write. Default: in build/<network>."),
]
Lanes = Annotated[
    int | None, typer.Option(metavar="N", help="Output channels accumulated at once; a multiple of 16, at most 256.")
]
Word = Annotated[
    int | None,
    typer.Option(metavar="BITS", help="Bits of a spike word; a power of two that divides the lanes. Default: 32."),
]
Columns = Annotated[
    int | None, typer.Option(metavar="N", help="Output positions that share a weight row; a power of two.")
]
Banks = Annotated[
    int | None, typer.Option(metavar="N", help="Events a cycle, each from a weight memory of its own; 1, 2, 4 or 8.")
]
NeuronLanes = Annotated[int | None, typer.Option(metavar="N", help="Neurons updated a cycle; a power of two.")]
AccumulatorWidth = Annotated[
    int | None, typer.Option(metavar="BITS", help="Bits of an accumulator. Default: what the network needs.")
]
Counters = Annotated[
    bool | None,
    typer.Option("--counters/--no-counters", help="Count all that the core does, or its cycles alone. Default: all."),
]
Board = Annotated[str | None, typer.Option(metavar="NAME", help="Take the best core for a board, e.g. ulx3s-85f.")]
TrainingData = Annotated[
    Path | None,
    typer.Option(
        "--data", "--data-folder", metavar="DIR", help="Folder of the data set's files. Default: SPIKELOOM_DATA."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the core, as far as the user says; None follows from the board and the network, see `chosen_for`."""

    lanes: Lanes = None
    word: Word = None
    columns: Columns = None
    banks: Banks = None
    neuron_lanes: NeuronLanes = None
    accumulator_width: AccumulatorWidth = None
    counters: Counters = None


@dataclass(frozen=True, kw_only=True)
class Core(Sizes):
    """The core that a network shall run on."""

    board: Board = None

    def compile(self, network: Network) -> Compiled:
        """The network on that core, which is said where it was chosen for the board; see `chosen_for`."""
        from spikeloom.gen.compiler import compile_plan

        chosen = chosen_for(network, **asdict(self))
        if chosen.why:
            note(chosen.why)
        return compile_plan(chosen.plan)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where images come from."""

    data: Data = None
    data_folder: DataFolder = None

    def samples(self, network: Network, count: int | None, *, most: int | None = None) -> Samples:
        """The images for a network; see `load_samples`."""
        return load_samples(self.data, network, count, folder=self.data_folder, most=most)


class Described(dict[str, Any]):
    """Behind a dataclass of no command, in `Annotated`: which of its fields are options, and how each is described."""


def described(**options: Any) -> Described:
    """The options by field: Typer's, or one of the aliases here."""
    return Described({name: get_args(option)[1] if get_args(option) else option for name, option in options.items()})


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer wants it: a parameter that is a dataclass becomes its fields, an option each.

    A dataclass that knows nothing of Typer comes with a `Described`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {
        name: kind for name, kind in get_type_hints(command).items() if isinstance(kind, type) and is_dataclass(kind)
    }
    options = {name: _options_of(kind, hints[name]) for name, kind in groups.items()}
    parameters = []
    for given in inspect.signature(command).parameters.values():
        if given.name in groups:
            parameters += options[given.name]
        else:
            parameters.append(given.replace(annotation=hints[given.name], kind=inspect.Parameter.KEYWORD_ONLY))

    def spread_out(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{x.name: values.pop(x.name) for x in options[name]})
        command(**values)

    spread_out.__name__, spread_out.__doc__ = command.__name__, command.__doc__
    spread_out.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread_out.__annotations__ = {x.name: x.annotation for x in parameters}
    return spread_out


def _options_of(group: Any, hint: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    about = next((x for x in get_args(hint) if isinstance(x, Described)), None)
    if about is not None:
        hints = {name: Annotated[hints[name], option] for name, option in about.items()}
    return [
        inspect.Parameter(x.name, kind, default=x.default, annotation=hints[x.name])
        for x in fields(group)
        if x.name in hints
    ]
