"""SpikeLoom: a trained spiking vision transformer becomes hardware that runs on an FPGA board.

From a model to measured hardware in Python::

    import spikeloom

    network = spikeloom.quantize(spikeloom.load("digits"))              # a model of the package, in integers
    images, labels = spikeloom.load_images(network, count=4)            # held-out images of its data set
    print(spikeloom.execute(network, images).accuracy(labels))          # 1.0: the integers, in PyTorch
    design = spikeloom.compile(network, lanes=16)                       # on a core; design.save(folder) is Verilog
    print(spikeloom.simulate(design, images).images_bit_exact)          # 4: every spike of the Verilog

What is here is documented in `spikeloom.flow.library`, and imported when it is first used: importing spikeloom takes
no time, and neither PyTorch nor Amaranth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeloom.flow.board import Device as Device
    from spikeloom.flow.classify import Answer as Answer
    from spikeloom.flow.images import Samples as Samples
    from spikeloom.flow.library import Design as Design
    from spikeloom.flow.library import build as build
    from spikeloom.flow.library import classify as classify
    from spikeloom.flow.library import compile as compile
    from spikeloom.flow.library import execute as execute
    from spikeloom.flow.library import load as load
    from spikeloom.flow.library import load_images as load_images
    from spikeloom.flow.library import quantize as quantize
    from spikeloom.flow.library import simulate as simulate
    from spikeloom.flow.models import Checkpoint as Checkpoint
    from spikeloom.golden.network import Network as Network

__version__ = "0.1.0"

_PLACES = {
    "library": ("Design", "build", "classify", "compile", "execute", "load", "load_images", "quantize", "simulate"),
    "board": ("Device",),
    "classify": ("Answer",),
    "images": ("Samples",),
    "models": ("Checkpoint", "Network"),
}
_MODULE_OF = {name: f"spikeloom.flow.{module}" for module, names in _PLACES.items() for name in names}

__all__ = [
    *("Answer", "Checkpoint", "Design", "Device", "Network", "Samples"),
    *("build", "classify", "compile", "execute", "load", "load_images", "quantize", "simulate"),
]


def __getattr__(name: str) -> Any:
    """What is in `__all__`, imported when it is asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'spikeloom' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
