"""Which data a model was trained on, and what its classes are called: what headers of checkpoints and networks tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from spikeloom.common.schema import checked, shown

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is read of a checkpoint's header, or of a network's provenance, wherever it is there."""

    accuracy: Share | None = None
    """Of a trained model."""
    accuracy_float: Share | None = None
    """The same, of a network's checkpoint."""
    accuracy_integer: Share | None = None
    """Of the network."""
    class_names: tuple[str, ...] | None = None
    """In the order of their labels."""
    recipe: dict[str, Any] | None = None
    """How the model was trained."""


@dataclass(frozen=True, kw_only=True)
class ToldData:
    """What is read of a recipe: the data set."""

    name: str | None = None
    """Of the data set."""
    folder: str | None = None
    """Of its files."""


def check_told(about: Mapping[str, Any], path: str) -> None:
    """ValueError, with the key, where a header that can hold anything holds what cannot be meant.

    path: of ``about``, with its file.
    """
    recipe = checked(Told, _known(Told, about), path).recipe or {}
    data = recipe.get("data", {})
    if not isinstance(data, Mapping):
        raise ValueError(f"{path}.recipe.data must be keys and values, not {shown(data)}")
    checked(ToldData, _known(ToldData, data), f"{path}.recipe.data")
    if not isinstance(recipe.get("dataset", ""), str):
        raise ValueError(f"{path}.recipe.dataset must be text, not {shown(recipe['dataset'])}")


def _known(kind: type, about: Mapping[str, Any]) -> dict[str, Any]:
    return {x.name: about[x.name] for x in fields(kind) if x.name in about}


CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "fashion": (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()
    ),
}
"""By data set, as their authors write them (CIFAR-100: the fine labels); a folder's are those of its subfolders."""


def class_names(name: str, images: Any = None) -> tuple[str, ...]:
    """The names of a data set's classes; of a folder those that its images bring; empty where there are none."""
    return tuple(getattr(images, "classes", ())) or CLASS_NAMES.get(name, ())


def names_in(about: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    """The names that a checkpoint's header or a network's provenance tells, one for each of the classes.

    They are under "class_names"; where they are missing, those of the data set that the training names, and where
    these are not as many as the classes, the numbers of the classes.
    """
    told = about.get("class_names")
    if isinstance(told, list | tuple) and len(told) == classes:
        return tuple(str(x) for x in told)
    known = CLASS_NAMES.get(trained_on(about)[0], ())
    return known if len(known) == classes else tuple(str(i) for i in range(classes))


def trained_on(about: Mapping[str, Any]) -> tuple[str, Path | None]:
    """Name and folder of the data set that a checkpoint's header or a network's provenance tells; the digits where
    it tells none.
    """
    recipe = about.get("recipe") or {}
    data = recipe.get("data") or {"name": recipe.get("dataset")}
    folder = data.get("folder")
    return data.get("name") or "digits", Path(folder) if folder else None
