"""Phantoms dressed as real datasets: their names, targets, prompts, groups and splits, around made-up pictures.

They try out a study's whole way in minutes. No number on them says anything about the real set, which `generator` in
dataset.json, `phantoms` in run.json and in spec.json tell every reader.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.data.cards import Card, find_card
from vlseg.phantoms import wording
from vlseg.phantoms.dataset import check_place
from vlseg.phantoms.dresses import DRESSES, FINDINGS, RADII, Dress
from vlseg.phantoms.painting import Canvas, Mask, Rng, canvas_of, heart, paint, place
from vlseg.phantoms.scene import Floats, outline
from vlseg.records import SPLITS, Attribute, InputError, replacing_folder, unknown_name

VERSION = 1
"""Of the generator: raised when the same seed gives other files."""
TINY_COUNTS: Mapping[str, int] = {"train": 8, "val": 4, "test": 6}
ABSENT_AT = 2
"""The first image of a split that shows nothing, in sets that have such."""


@dataclass(frozen=True)
class DressedSummary:
    """What was written: where, and the number of entries per split."""

    path: Path
    entries: Mapping[str, int]


@dataclass(frozen=True)
class Dressed:
    """One target of one image: its name, what its mask file is called, its mask, its texts, what describes it."""

    target: str
    mask_name: str
    mask: Mask
    prompts: wording.Texts
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True)
class Picture:
    """One image (height, width, 3) with its entries; `group` is a made-up patient, None where the real set has none."""

    name: str
    image: NDArray[np.uint8]
    entries: tuple[Dressed, ...]
    group: str | None = None


@dataclass(frozen=True)
class Draw:
    """What an image is drawn from; `rng` is its own, `patient` gives the same to all images of a patient."""

    dress: Dress
    card: Card
    split: str
    index: int
    canvas: Canvas
    rng: Rng
    seed: tuple[int, ...]

    def patient(self, number: int) -> Rng:
        """A generator of that patient of the split."""
        return np.random.default_rng([*self.seed, 1, number])

    def number(self, images: int = 1) -> int:
        """A number that no other split uses, the same for so many images in a row."""
        return 1000 * (1 + list(SPLITS).index(self.split)) + self.index // images

    @property
    def absent(self) -> bool:
        """Whether the image shows nothing."""
        every = self.dress.absent_every
        return bool(every) and self.index % every == ABSENT_AT


def dressed_names() -> list[str]:
    """The datasets that phantoms can be dressed as."""
    return list(DRESSES)


def write_dressed(
    out: Path, name: str, counts: Mapping[str, int] = TINY_COUNTS, size: int = 48, seed: int = 0
) -> DressedSummary:
    """Write a phantom with the structure of a real dataset, as `vlseg data prepare --anns` lays that out.

    An image depends on nothing but name, split, index, size and seed.

    Args:
        out: new or empty folder; appears whole or not at all.
        name: of the dataset's card.
        counts: images per split. Splits that the real set lacks stay empty whatever is asked for.
        size: longer side of the images, pixels, at least 32; the shorter one follows the real set's shapes.
        seed: not negative.

    Raises:
        InputError: an unknown name, a value out of range, no image at all, or `out` holds something.
    """
    if name not in DRESSES:
        raise unknown_name("dataset to dress a phantom as", name, DRESSES)
    card = find_card(name)
    check_place(out, counts, size, seed)
    counts = {split: counts.get(split, 0) if card.counts.get(split) else 0 for split in SPLITS}
    if not any(counts.values()):
        having = " or ".join(split for split in SPLITS if card.counts.get(split))
        raise InputError(f"{having}: is 0, and {name} has no other split; ask for one image or more")
    with replacing_folder(out) as folder:
        (folder / "anns").mkdir()
        entries: dict[str, int] = {}
        grouped = True
        for split, count in counts.items():
            rows: list[dict[str, Any]] = []
            for index in range(count):
                picture = draw(name, split, index, size=size, seed=seed)
                grouped &= picture.group is not None
                rows += _write_picture(folder, picture)
            _write_json(folder / "anns" / f"{split}.json", rows)
            entries[split] = len(rows)
        generator = {"dressed": name, "seed": seed, "size": size, "version": VERSION}
        values = {
            "name": name,
            "licence": "CC0-1.0",
            "targets": list(card.targets),
            "groups_known": grouped,
            "symmetries": sorted(card.symmetries),
            "generator": generator,
        }
        _write_json(folder / "dataset.json", values)
    return DressedSummary(out, entries)


def draw(name: str, split: str, index: int, *, size: int = 48, seed: int = 0) -> Picture:
    """The `index`-th image of a split of the phantom dressed as `name`."""
    dress, stream = DRESSES[name], (seed, zlib.crc32(name.encode()), list(SPLITS).index(split))
    canvas = canvas_of(size, dress.ratios[index % len(dress.ratios)])
    return DRAWN[dress.family](
        Draw(dress, find_card(name), split, index, canvas, np.random.default_rng([*stream, 0, index]), stream)
    )


def _photo(one: Draw) -> Picture:
    image, mask = _scattered(one, one.patient(one.index))
    name = f"phantom{one.number():04d}"
    suffix = one.dress.suffix
    entry = Dressed(one.card.targets[0], f"{name}.png", mask, wording.photo(one.dress, mask, image))
    return Picture(f"{name}{suffix}", image, (entry,))


def _busi(one: Draw) -> Picture:
    kind = "normal" if one.absent else str(one.rng.choice(["benign", "malignant"], p=[0.67, 0.33]))
    # Looks tell the kinds apart: malignant ones have an uneven border.
    image, mask = _scattered(one, one.patient(one.index), ("irregular",) if kind == "malignant" else None)
    name = f"{one.number()}_{kind}.png"
    present = Attribute("presence", "absent" if one.absent else "present", "label")
    told = (present,) if one.absent else (present, Attribute("tumor_type", kind, "label"))
    return Picture(name, image, (Dressed(one.card.targets[0], name, mask, wording.busi(mask, kind), told),))


def _camus(one: Draw) -> Picture:
    number = one.number(4)
    patient = one.patient(number)
    view, phase = ("2", "4")[one.index // 2 % 2], ("ED", "ES")[one.index % 2]
    known = {
        "view": {"2": "two-chamber view", "4": "four-chamber view"}[view],
        "phase": {"ED": "end of the diastole cycle", "ES": "end of the systole cycle"}[phase],
        "sex": str(patient.choice(["male", "female"])),
        "age": str(patient.integers(35, 85)),
        "quality": str(patient.choice(["good", "medium", "poor"], p=[0.5, 0.35, 0.15])),
    }
    masks = heart(one.canvas, one.rng)
    tones = ((0.08,) * 3, (0.72,) * 3, (0.16,) * 3)
    image = paint("ultrasound", one.canvas, one.rng, patient, list(zip(masks, tones, strict=True)))
    half = "test" if one.split == "test" else "train"
    stem = f"patient{number:04d}_{view}CH_{phase}"
    told = tuple(Attribute(key, value, "metadata") for key, value in known.items())
    entries = []
    for label, (target, alpha) in enumerate(zip(one.card.targets, masks, strict=True), start=1):
        mask = _cut(alpha, one.canvas)
        texts = wording.camus(mask, target, known)
        entries.append(Dressed(target, f"{half}/mask_{label}/{stem}_gt.png", mask, texts, told))
    return Picture(f"{half}/{stem}.png", image, tuple(entries), f"{half}/patient{number:04d}")


def _chexlocalize(one: Draw) -> Picture:
    number = one.number(2)
    patient, second = one.patient(number), one.index % 2
    side = "lateral" if second and number % 2 else "frontal"
    chosen = _findings(one)
    things = []
    for name in chosen:
        finding = FINDINGS[name]
        centre = np.array(finding.places[int(one.rng.integers(len(finding.places)))]) + one.rng.uniform(-0.03, 0.03, 2)
        radius = one.canvas.radius(finding.size, one.rng)
        alpha = outline(one.rng, finding.shape, one.canvas.at(*centre), radius, one.canvas.size)
        things.append((alpha, (finding.tone,) * 3))
    image = paint("x-ray", one.canvas, one.rng, patient, things)
    stem = f"patient{60000 + number}_study1_view{1 + second}_{side}"
    told = (Attribute("view", f"{side} view", "metadata"), Attribute("pathologies", "; ".join(chosen), "label"))
    entries = []
    for name, (alpha, _) in zip(chosen, things, strict=True):
        mask = _cut(alpha, one.canvas)
        texts = wording.chexlocalize(mask, name, f"{side} view", chosen)
        entries.append(Dressed(name.lower(), f"{stem}_{name.lower().replace(' ', '_')}.png", mask, texts, told))
    return Picture(f"{stem}{one.dress.suffix}", image, tuple(entries), f"patient{60000 + number}")


def _findings(one: Draw) -> list[str]:
    """One finding in every fourth image, two to five in the others; any six images in a row show all ten."""
    names = list(FINDINGS)
    start = int(np.random.default_rng([*one.seed, 2]).integers(len(names)))

    def two(index: int) -> list[str]:
        """Steps of three, and what stands half the list away."""
        return [names[(3 * index + start + away) % len(names)] for away in (0, len(names) // 2)]

    if one.index % 4 == 3:
        return two(one.index)[:1]
    sure = {*two(one.index), *(two(one.index + 1)[1:] if one.index % 4 == 2 else ())}
    more = one.rng.permutation([name for name in names if name not in sure])[: int(one.rng.integers(0, 3))]
    return [name for name in names if name in sure or name in more]


def _report(one: Draw) -> Picture:
    number = one.number(2)
    image, mask = _scattered(one, one.patient(number))
    stem, named = {
        "qata-cov19": (f"cxr_s{number}-e{one.index}-r1", f"s{number}"),
        "mosmeddata-plus": (f"Morozov_study_{number:04d}_{one.index}", f"morozov_study_{number:04d}"),
        "monuseg": (f"TCGA-PH-{number:04d}-01Z-{one.index:02d}", f"tcga-ph-{number:04d}"),
    }[one.card.name]
    group: str | None = named
    if one.card.name == "qata-cov19" and one.split == "train" and one.index % 4 == 3:
        stem, group = f"covid_{one.index}", None  # in the real set 2,951 images name no subject
    target = one.card.targets[0]
    entry = Dressed(target, f"{one.split}_{stem}.png", mask, wording.report(mask, target))
    return Picture(f"{one.split}_{stem}.png", image, (entry,), group)


DRAWN: Mapping[str, Callable[[Draw], Picture]] = {
    "photo": _photo,
    "busi": _busi,
    "camus": _camus,
    "chexlocalize": _chexlocalize,
    "report": _report,
}


def _scattered(one: Draw, patient: Rng, shapes: tuple[str, ...] | None = None) -> tuple[NDArray[np.uint8], Mask]:
    """The image and the union of one or more things of one kind anywhere in it; of none where the target is absent."""
    dress, rng, alphas = one.dress, one.rng, list[Floats]()
    shape = str(rng.choice(shapes or dress.shapes))
    tone = dress.tones[int(rng.integers(len(dress.tones)))]
    number = 0 if one.absent else 1 + int(rng.binomial(dress.most - 1, 0.25 if dress.most < 4 else 0.7))
    size = str(rng.choice(dress.sizes))
    # What has no room is left out, but for the first; the smallest size has room in every image.
    for candidate in (size, *RADII):
        first = place(one.canvas, rng, shape, candidate, ()) if number else None
        if first is not None:
            alphas.append(first)
            break
    for _ in range(number - 1):
        alpha = place(one.canvas, rng, shape, str(rng.choice(dress.sizes)), alphas)
        alphas += [] if alpha is None else [alpha]
    image = paint(dress.ground, one.canvas, rng, patient, [(alpha, tone) for alpha in alphas])
    union = np.zeros((one.canvas.height, one.canvas.width), dtype=bool)
    for alpha in alphas:
        union |= _cut(alpha, one.canvas)
    return image, union


def _cut(alpha: Floats, canvas: Canvas) -> Mask:
    return np.asarray(alpha[canvas.window] > 0.5)


def _write_picture(folder: Path, picture: Picture) -> list[dict[str, Any]]:
    """Write the image and its masks (0 and 255); the annotation entries."""
    # JPEG without loss of colour resolution, as far as JPEG goes: things are few pixels wide.
    options = {} if picture.name.endswith(".png") else {"quality": 95, "subsampling": 0}
    _save(folder / "images" / picture.name, picture.image, **options)
    rows = []
    for entry in picture.entries:
        _save(folder / "masks" / entry.mask_name, np.where(entry.mask, 255, 0).astype(np.uint8))
        row: dict[str, Any] = {
            "img_name": picture.name,
            "mask_name": entry.mask_name,
            "target": entry.target,
            "prompts": entry.prompts,
        }
        if "text" in entry.prompts:  # no published scheme says where such texts come from
            row["prompt_sources"] = {"empty": ["none"], "class": ["class"], "text": ["unknown"]}
        if picture.group is not None:
            row["group"] = picture.group
        if entry.attributes:
            row["attributes"] = [asdict(attribute) for attribute in entry.attributes]
        rows.append(row)
    return rows


def _save(path: Path, pixels: NDArray[np.uint8], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
