"""What a dataset card says, and what its structures find in a source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.data.archives import Tree
from vlseg.records import Attribute, IntensityPolicy

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """The mask of one target of one image.

    Attributes:
        target: the structure.
        name: the mask's name under masks/ of the prepared dataset (.png).
        files: source files whose foregrounds are united; empty where `make` or nothing gives the mask.
        make: gives the mask (H, W) for an image of that (H, W) instead, e.g. from polygons.
        reader: who drew it, where several did.
        attributes: of the target in this image.
    """

    target: str
    name: str
    files: tuple[str, ...] = ()
    make: Callable[[tuple[int, int]], Mask] | None = None
    reader: str | None = None
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Item:
    """One image with its masks, as found in a source.

    Attributes:
        image: its name under images/ of the prepared dataset.
        file: the source file.
        parts: its masks; a target that is absent may have a part with no files (an empty mask).
        official: the split its makers put it in ("train", "val", "test"), or None.
        group: patient or sequence; None = unknown.
        attributes: what names and side files tell. One named "text" is a wording of a prompt of that name.
        spacing: (y, x) in mm, or None.
        load: decodes the source file instead of the usual image reader (volumes), with its (y, x) spacing in mm.
    """

    image: str
    file: str
    parts: tuple[Part, ...]
    official: str | None = None
    group: str | None = None
    site: str | None = None
    attributes: tuple[Attribute, ...] = ()
    spacing: tuple[float, float] | None = None
    load: Callable[[], tuple[Image.Image, tuple[float, float]]] | None = None


@dataclass(frozen=True)
class Structure:
    """One way the files of a dataset lie in what people download.

    `seen` tells whether we had real files of it before us; the others follow the makers' descriptions.
    `find` gives the items, none where the source is laid out otherwise.
    """

    about: str
    seen: bool
    find: Callable[[Tree], Sequence[Item]]


@dataclass(frozen=True)
class Card:
    """All that is known of a dataset.

    Attributes:
        name: on the command line.
        title: as its makers call it.
        modality: of the images.
        targets: structures with masks.
        licence: licence or terms of use.
        page: where it is described and given out.
        registration: what is needed to get it ("none", or what).
        files: the files to download, by their names there.
        counts: images with masks, by official or published split.
        defects: known errors, one line each.
        prompts: published prompts and where their words come from, one line each.
        symmetries: mirrorings and rotations that keep an image plausible and its words true.
        groups: how patients or sequences are told, or "unknown".
        structures: known layouts of the source.
        citation: of the paper to cite.
        mask_max: what full foreground is in its masks; None = the largest value found.
        colours_united: True when all colours of its masks mean its only target.
        val_share: share of the official training images (by group) that becomes val, where there is no official val.
    """

    name: str
    title: str
    modality: str
    targets: tuple[str, ...]
    licence: str
    page: str
    registration: str
    files: tuple[str, ...]
    counts: Mapping[str, int]
    prompts: tuple[str, ...]
    groups: str
    structures: tuple[Structure, ...]
    citation: str
    symmetries: frozenset[str] = frozenset()
    defects: tuple[str, ...] = ()
    intensity: IntensityPolicy = field(default_factory=IntensityPolicy)
    mask_max: int | None = None
    colours_united: bool = False
    val_share: float = 0.1
