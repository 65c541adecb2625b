"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeloom.flow.simulation import MOST_SIMULATED as MOST_SIMULATED

DEFAULT_MODEL = "digits"
DEFAULT_BOARD = "ulx3s-85f"


def file_in(output: Path | None, folder: Path, name: str) -> Path:
    """The file to write: what the user chose, or in it where that does not end like one, else in the folder."""
    return output if output is not None and output.suffix == Path(name).suffix else (output or folder) / name


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
SimulatedImages = Annotated[
    int | None, typer.Option(min=1, metavar="N", help=f"Only the first N images. Default: {MOST_SIMULATED} at most.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="Where to write. Default: in build/<network>."),
]
Lanes = Annotated[int | None, typer.Option(metavar="N", help="Output channels accumulated at once; a power of two.")]
Columns = Annotated[
    int | None, typer.Option(metavar="N", help="Output positions that share a weight row; a power of two.")
]
NeuronLanes = Annotated[int | None, typer.Option(metavar="N", help="Neurons updated a cycle; a power of two.")]
AccumulatorWidth = Annotated[
    int | None, typer.Option(metavar="BITS", help="Bits of an accumulator. Default: what the network needs.")
]
Board = Annotated[
    str | None, typer.Option(metavar="NAME", help="Start from the core that suits a board, e.g. ulx3s-85f.")
]
TrainingData = Annotated[
    Path | None,
    typer.Option(
        "--data", "--data-folder", metavar="DIR", help="Folder of the data set's files. Default: SPIKELOOM_DATA."
    ),
]
