"""`spikeloom data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli.console import bars, emit, pairs
from spikeloom.cli.options import AsJson

DOWNLOAD_EXAMPLE = "Example: spikeloom data download fashion --to ~/data"
SHOW_EXAMPLE = "Example: spikeloom data show fashion --data ~/data"

app = typer.Typer(
    help="Fetch data sets, or look at those in a folder.",
    epilog="Example: spikeloom data download fashion --to ~/data; both commands know --json.",
    no_args_is_help=True,
)


@app.command(epilog=DOWNLOAD_EXAMPLE)
def download(
    name: Annotated[str, typer.Argument(help="fashion, cifar10 or cifar100.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")],
    as_json: AsJson = False,
) -> None:
    """Download a data set from its authors and check it; the only command that uses the network."""
    from spikeloom.golden.data import downloads

    with bars() as shown:
        made: dict[str, Any] = {}

        def progress(file: str, done: int, whole: int | None) -> None:
            if file not in made:
                made[file] = shown.bar(file.partition(".")[0][:18])
            made[file](done, whole)

        files = downloads.download(name, to, progress=progress)
    record = {"data": name, "folder": to, "files": files}
    rows = [("folder", str(to)), ("files", ", ".join(x.name for x in files))]
    emit(record, pairs("Downloaded", rows), f"Next: export SPIKELOOM_DATA={to}", as_json=as_json)


@app.command(epilog=SHOW_EXAMPLE)
def show(
    name: Annotated[str, typer.Argument(help="digits, fashion, cifar10, cifar100 or folder.")] = "digits",
    data: Annotated[
        Path | None,
        typer.Option("--data", "--data-folder", metavar="DIR", help="Folder with the files. Default: SPIKELOOM_DATA."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set and say what is in it."""
    from spikeloom.golden.data import datasets

    train, test = (datasets.open_images(name, split, data) for split in ("train", "test"))
    record = {
        "data": name,
        "image_shape": list(train.shape),
        "classes": datasets.classes_of([train, test]),
        "training": len(train.labels),
        "held_out": len(test.labels),
    }
    rows = [
        ("image", "x".join(map(str, train.shape))),
        ("classes", record["classes"]),
        ("training images", record["training"]),
        ("held-out images", record["held_out"]),
    ]
    emit(record, pairs(name, rows), as_json=as_json)
