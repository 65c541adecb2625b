"""The folder that `spikeloom compile` leaves: Verilog, Program, test vectors and how to use them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeloom.common.files import file_hash

if TYPE_CHECKING:
    from spikeloom.flow.images import Samples
    from spikeloom.gen.compiler import Compiled
    from spikeloom.golden.network import Network

TEMPLATES = Path(__file__).with_name("templates")


def export(compiled: Compiled, verilog: str, samples: Samples, folder: Path) -> dict[str, Any]:
    """Write the folder, aside and then renamed file by file, the manifest last; returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder, prefix=".part-"))
    try:
        manifest = _fill(aside, compiled, verilog, samples)
        (folder / "manifest.json").unlink(missing_ok=True)
        for path in sorted(aside.iterdir(), key=lambda path: path.name == "manifest.json"):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return manifest


def _fill(folder: Path, compiled: Compiled, verilog: str, samples: Samples) -> dict[str, Any]:
    from spikeloom.gen.host.c_header import c_header
    from spikeloom.gen.host.csr_csv import csr_csv
    from spikeloom.gen.host.pixels import pack_pixels
    from spikeloom.golden.network.execute import check_images

    images = check_images(compiled.network, samples.images)
    pixels, addresses = pack_pixels(images), _addresses()
    (folder / "core.v").write_text(verilog)
    (folder / "spikeloom.h").write_text(c_header())
    (folder / "csr.csv").write_text(csr_csv(compiled.config))
    compiled.network.save(folder / "network.safetensors")
    _write_program(folder, compiled)
    _write_vectors(folder, compiled.network, images, samples.labels, pixels)
    _write_templates(folder, compiled, addresses, images=len(images), words=pixels.shape[1])
    files = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    manifest = compiled.manifest() | {"host_bus": addresses, "images": len(images), "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _addresses() -> dict[str, int]:
    """Of what a host needs to run images, on the host bus."""
    from spikeloom.rtl.core.registers import Region, Register

    return {
        "control": Region.REGISTERS.address(Register.CONTROL),
        "status": Region.REGISTERS.address(Register.STATUS),
        "pixels": Region.REGISTERS.address(Register.PIXELS),
        "counters": Region.REGISTERS.address(Register.COUNTERS),
        "results": Region.RESULTS.address(),
        "program": Region.PROGRAM.address(),
        "parameters": Region.PARAMETERS.address(),
        "weights": Region.WEIGHTS.address(),
    }


def _write_program(folder: Path, compiled: Compiled) -> None:
    """The Program, for our host and as `$readmemh` reads it."""
    from spikeloom.gen.program_file import save_program
    from spikeloom.rtl.core.layouts import WORD_BITS, parameters

    program, config = compiled.program, compiled.config
    save_program(program, folder / "program.safetensors")
    _write_hex(folder / "program.hex", program.program_words, WORD_BITS)
    _write_hex(folder / "parameters.hex", program.parameter_words, parameters(config).size)
    _write_hex(folder / "weights.hex", program.weight_rows, config.lanes * config.weight_width)


def _write_vectors(
    folder: Path, network: Network, images: np.ndarray, labels: np.ndarray | None, pixels: np.ndarray
) -> None:
    """Images, and every spike and class sum of them; pixels: the images as the host writes them."""
    from spikeloom.golden.network.execute import execute
    from spikeloom.rtl.core.layouts import WORD_BITS

    execution = execute(network, images, record=True)
    _write_hex(folder / "pixels.hex", pixels.ravel().tolist(), WORD_BITS)
    _write_hex(folder / "sums.hex", (execution.sums.ravel() & 0xFFFFFFFF).tolist(), WORD_BITS)
    vectors = {f"spikes.{name}": spikes for name, spikes in execution.spikes.items()}
    vectors |= {"images": images, "sums": execution.sums}
    if labels is not None:
        vectors["labels"] = labels
    with open(folder / "vectors.npz", "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **vectors)


def _write_templates(folder: Path, compiled: Compiled, addresses: dict[str, int], *, images: int, words: int) -> None:
    """The test bench and the README; words: of an image on the host bus."""
    from spikeloom.gen.sizing import SHAPE

    network, config = compiled.network, compiled.config
    values = {
        "name": network.name,
        "lanes": config.lanes,
        "columns": config.columns,
        "images": images,
        "words": words,
        "classes": network.classes,
        "options": "".join(f" --{name.replace('_', '-')} {getattr(config, name)}" for name in SHAPE)
        + ("" if config.counters else " --no-counters"),
    }
    for name, style in (("testbench.v", "{:07x}"), ("README.md", "`0x{:07x}`")):
        shown = {key: style.format(value) for key, value in addresses.items()}
        text = Template((TEMPLATES / name).read_text()).substitute(values | shown)
        (folder / name).write_text(text)


def _write_hex(path: Path, values: Iterable[int], bits: int) -> None:
    digits = -(-bits // 4)
    path.write_text("".join(f"{value:0{digits}x}\n" for value in values))
