"""A user's mistakes: files of ours that were spoilt, and the one line that a command says instead of working."""

import json

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from spikeloom.cli.main import run


def spoil(good, path, change=None, *, tensors=None, text=None):
    """Copy a file of ours: its header changed, its tensors changed, or its header replaced by a text."""
    kept = load_file(good)
    with safe_open(good, framework="pt") as file:
        metadata = dict(file.metadata())
    (key,) = set(metadata) & {"network", "checkpoint"}
    header = json.loads(metadata[key])
    if change is not None:
        change(header)
    if tensors is not None:
        tensors(kept)
    metadata[key] = json.dumps(header) if text is None else text
    save_file(kept, path, metadata=metadata)


def refused(line, capsys):
    """The line that a command says instead of working."""
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    said = [x for x in err.splitlines() if x.startswith("spikeloom: ")]
    assert len(said) == 1 and "Traceback" not in err and out == ""
    assert len(said[0]) < 1000
    return said[0]
