"""From what was downloaded to a dataset in our layout: found, renamed, united, split, written as a whole."""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from vlseg.data.archives import Tree, open_source, walk_files
from vlseg.data.assign import Placed, assign_published, assign_seeded
from vlseg.data.cards import Card, Item, Part
from vlseg.data.cards.card import Mask
from vlseg.data.cards.find import by_rule
from vlseg.data.croissant import write_croissant
from vlseg.data.formats.known import DRAWN
from vlseg.data.images import as_png, decode_image, page_count
from vlseg.data.mask_levels import judge
from vlseg.data.mask_map import UndeclaredError, read_mask_map
from vlseg.data.masks import foreground, mask_pixels, refuse, summarise_image
from vlseg.data.matching import counted
from vlseg.data.names import is_picture
from vlseg.data.own import Found, own_items
from vlseg.data.parted import UNNAMED, decode_file, parted
from vlseg.data.readers import Combine, consensus, reader_agreement
from vlseg.data.regroup import regroup
from vlseg.metrics import Estimate
from vlseg.records import SPLITS, InputError, replacing_folder, write_text

Progress = Callable[[Sequence[Placed]], Iterator[Placed]]
Copies = Callable[[Sequence[Path]], Iterable[tuple[int, int]]]
"""Pairs of image files that look the same, as indices."""


@dataclass(frozen=True)
class Prepared:
    """What preparing did.

    Attributes:
        out: the dataset.
        structure: the layout of the source that was recognised, in words.
        seen: whether we ever had real files of that layout.
        entries: by split.
        images: number of images used.
        left_out: one line for each file or group of files that was not used, and why.
        agreement: mean Dice of each pair of readers, where several drew.
        unchanged: True when `out` held this very result already.
        regrouped: what drawing the split anew changed, one line each.
    """

    out: Path
    structure: str
    seen: bool
    entries: dict[str, int]
    images: int
    left_out: tuple[str, ...] = ()
    agreement: dict[str, Estimate] = field(default_factory=dict)
    unchanged: bool = False
    regrouped: tuple[str, ...] = ()


def prepare(
    card: Card | None,
    source: Path,
    out: Path,
    *,
    anns: Path | None = None,
    target: str | None = None,
    table: Path | None = None,
    mask_map: Path | None = None,
    masks: str | None = None,
    groups: str | None = None,
    readers: Combine = "apart",
    seed: int = 0,
    progress: Progress = iter,
    copies: Copies | None = None,
) -> Prepared:
    """Write the dataset found in `source` to the new folder `out`.

    The same source and options give the same bytes. `out` appears only when all of it is written; what a
    killed run leaves is thrown away by the next.

    Args:
        card: the dataset; None = the user's own.
        source: archive or folder.
        out: a folder that does not exist, or that holds this result.
        anns: published annotation folder (train.json, val.json, test.json), whose splits and prompts are taken.
        target: names the masks of own data.
        table: cases.csv of own data, where it is not in the source.
        mask_map: file that declares the values or colours of own label maps, see `read_mask_map`; one target of each.
        masks: chooses among several sorts of masks, see `vlseg.data.matching.match`.
        groups: tells own data's patients or sequences, see `vlseg.data.own.own_items`.
        readers: what becomes of several readers' masks.
        seed: of the split, where none is published.
        progress: wraps the loop over images.
        copies: finds images that look the same; given, the split is drawn anew, see `vlseg.data.regroup.regroup`.

    Raises:
        InputError: nothing known in the source, a harmful archive, annotations that do not fit, `out` in use, or
            masks whose values or colours do not say what foreground is.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"--out: {out} lies in the source, which it would change; choose a folder elsewhere")
    asked = _asked(card, source, anns, target, table, readers, seed) | {"masks": masks, "groups": groups}
    asked["regroup"] = copies is not None
    asked["mask_map_sha256"] = _digest(mask_map) if mask_map else None
    declared = read_mask_map(mask_map) if mask_map else None
    done = _already(out, asked)
    if done is not None:
        return done
    with open_source(source) as tree, replacing_folder(out) as folder, TemporaryDirectory() as scratch:
        named = target if declared is None else UNNAMED
        found = _find(card, tree, masks) if card else own_items(tree, named, table, masks, groups, below=Path(scratch))
        if declared is not None:
            found = replace(found, items=[parted(tree, item, declared) for item in found.items])
        placed, unlisted = (
            ([Placed(item) for item in found.items], []) if anns is None else assign_published(found.items, anns)
        )
        writer = _Writer(tree, folder, _mask_max(card, tree, placed), readers, card is not None and card.colours_united)
        for one in progress(placed):
            writer.add(one)
        if not writer.images:
            raise InputError(f"{source}: no image could be used ({writer.left_out[0]})")
        if anns is None:
            val_share = card.val_share if card else 0.1
            placed = assign_seeded(list(writer.items), seed, val_share, list(writer.items.values()))
        regrouped: list[str] = []
        if copies is not None:
            placed = [one for one in placed if one.item in writer.items]
            pairs = copies([writer.image_file(one.item) for one in placed])
            placed, regrouped = regroup(placed, pairs, seed, [writer.items[one.item] for one in placed])
        writer.enter(placed)
        left_out = [*unlisted, *writer.left_out, *found.left_out]
        if writer.paged:
            left_out.append(f"further pages of {len(writer.paged)} images, e.g. {writer.paged[0]}: the first is used")
        for split in SPLITS:
            text = json.dumps(writer.entries[split], indent=1, ensure_ascii=False)
            write_text(folder / "anns" / f"{split}.json", text + "\n")
        agreement = _agreement(writer)
        result = Prepared(
            out,
            found.about,
            found.seen,
            {split: len(writer.entries[split]) for split in SPLITS},
            writer.images,
            tuple(left_out),
            agreement,
            regrouped=tuple(regrouped),
        )
        _write_info(folder / "dataset.json", out.name, card, writer, asked, result)
        write_croissant(folder, out.name, card, writer.entries, writer.images)
    return result


def _asked(
    card: Card | None,
    source: Path,
    anns: Path | None,
    target: str | None,
    table: Path | None,
    readers: Combine,
    seed: int,
) -> dict[str, Any]:
    """What the result depends on, so that a second call can tell whether it is there already."""
    return {
        "card": card.name if card else "own",
        "source": source.resolve().name,
        "source_sha256": _digest(source),
        "anns_sha256": _digest(anns) if anns else None,
        "target": target,
        "table_sha256": _digest(table) if table else None,
        "readers": readers,
        "seed": seed,
    }


def _digest(path: Path) -> str:
    """Of a file, or of the names and contents of all files in a folder but masks that reading it drew there."""
    if path.is_dir():
        digest = hashlib.sha256()
        for name, file in walk_files(path):
            if file.is_file() and Path(name).parts[0] not in DRAWN:
                digest.update(os.fsencode(f"{name}\0{_digest(file)}\0"))
        return digest.hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: no such file or folder, or it cannot be read ({error.strerror})") from error


def _already(out: Path, asked: dict[str, Any]) -> Prepared | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    path = out / "dataset.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))["prepared"]
        same = all(record["asked"][key] == value for key, value in asked.items())
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(
            f"--out: {out} exists and is not the result of this command on this source; choose another folder, or "
            "delete it to have it made anew"
        )
    agreement = {pair: Estimate(**value) for pair, value in record["agreement"].items()}
    return Prepared(
        out,
        record["structure"],
        record["seen"],
        record["entries"],
        record["images"],
        tuple(record["left_out"]),
        agreement,
        unchanged=True,
        regrouped=tuple(record["regrouped"]),
    )


def _find(card: Card, tree: Tree, masks: str | None) -> Found:
    """The items of a card's source; `masks` passes over the structures that the card knows."""
    for structure in card.structures if masks is None else ():
        items = list(structure.find(tree))
        if items:
            return Found(items, structure.about, _unused(tree, items), structure.seen)
    items = by_rule(tree, card.targets[0], masks) if len(card.targets) == 1 else []
    if items:
        told = "a layout the card does not know; masks told by their names"
        return Found(items, told, _unused(tree, items), seen=False)
    first = ", ".join(tree.names[:3]) or "nothing"
    known = "; or ".join(structure.about for structure in card.structures)
    raise InputError(
        f"{tree.source}: no images and masks of {card.title} are found there (it holds {first}, ...); "
        f"expected {known}. "
        f"Get {', '.join(card.files)} from {card.page}"
    )


def _unused(tree: Tree, items: Sequence[Item]) -> list[str]:
    """Pictures that no item names. Cards know their side files: other files are not counted."""
    used = {item.file for item in items} | {file for item in items for part in item.parts for file in part.files}
    unused = [name for name in tree.names if is_picture(name) and name not in used]
    return [counted(unused, "pictures that are not used")] if unused else []


def _mask_max(card: Card | None, tree: Tree, placed: Sequence[Placed]) -> int:
    """What full foreground is: the card's word, else the largest value of all masks, when they leave no doubt."""
    if card is not None and card.mask_max is not None:
        return card.mask_max
    files = dict.fromkeys(file for one in placed for part in one.item.parts for file in part.files)
    summaries = {}
    for file in files:
        try:
            summaries[f"{tree.source}: {file}"] = summarise_image(
                decode_file(tree, file, one_page=True), f"{tree.source}: {file}"
            )
        except InputError:
            continue  # the writer leaves it out and names it
    mask_max = max((summary.largest for summary in summaries.values()), default=0) or 255
    odd = judge(summaries, mask_max, united=card is not None and card.colours_united)
    if card is None or len(odd) > len(summaries) / 2:
        refuse(odd, len(summaries))
    return mask_max


class _Writer:
    """Writes images and masks and keeps the entries. A file that cannot be used is left out and named."""

    def __init__(self, tree: Tree, folder: Path, mask_max: int, readers: Combine, united: bool) -> None:
        self._tree = tree
        self._folder = folder
        self._mask_max = mask_max
        self._readers = readers
        self._united = united
        self._written: Counter[str] = Counter()
        self._parts: dict[str, tuple[Item, list[Part], tuple[float, float] | None]] = {}
        self.entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self.items: dict[Item, frozenset[str]] = {}
        """Items written, with the targets that their masks show."""
        self.left_out: list[str] = []
        self.paged: list[str] = []
        self.drawn: list[tuple[str | None, dict[str, Mask]]] = []
        self.groups_known = True

    def add(self, placed: Placed) -> None:
        """One image with its masks."""
        item = placed.item
        try:
            written, size, spacing = self._image(item)
            parts, present = self._masks(item, size)
        except UndeclaredError:
            raise  # a further label: leaving its images out would bias the set
        except InputError as error:
            self.left_out.append(str(error))
            return
        self.items[item] = present
        self._parts[item.image] = written, parts, spacing
        self.groups_known &= item.group is not None

    @property
    def images(self) -> int:
        """How many are written."""
        return len(self.items)

    def image_file(self, item: Item) -> Path:
        """Where a written item's image lies."""
        return self._folder / "images" / self._parts[item.image][0].image

    def enter(self, placed: Sequence[Placed]) -> None:
        """Entries of the written images in every split that lists them."""
        for one in placed:
            if one.item not in self.items:
                continue
            item, parts, spacing = self._parts[one.item.image]
            item = item if one.group is None else replace(item, group=one.group)
            for split, published in one.entries:
                named = published.get("_target")
                kept = [part for part in parts if named is None or part.target == named]
                self.entries[split] += [_entry(item, part, spacing, published) for part in kept]

    def _image(self, item: Item) -> tuple[Item, tuple[int, int], tuple[float, float] | None]:
        """Writes the image, as it is or as PNG where that keeps every pixel; gives the item by its name as written."""
        if item.load is not None:
            image, spacing = item.load()
            image.save(self._path("images", item.image))
            return item, (image.height, image.width), spacing
        content = self._tree.read(item.file)
        name = f"{self._tree.source}: {item.file}"
        image = decode_image(io.BytesIO(content), name)
        pages = page_count(content)
        if pages > 1:
            self.paged.append(item.file)
        png = as_png(image)
        if png is None:
            item = replace(item, image=str(Path(item.image).with_suffix(Path(item.file).suffix.lower())))
        target = self._path("images", item.image)
        if Path(item.file).suffix.lower() == target.suffix.lower():
            target.write_bytes(content)
        elif png is not None:
            png.save(target)
        return item, (image.height, image.width), item.spacing

    def _masks(self, item: Item, size: tuple[int, int]) -> tuple[list[Part], frozenset[str]]:
        """Writes the masks. The parts that become entries, and the targets of which there is something."""
        masks = [(part, self._mask(part, size)) for part in item.parts]
        by_reader = {part.reader: mask for part, mask in masks if part.reader}
        if by_reader:
            self.drawn.append((item.group, {str(reader): mask for reader, mask in by_reader.items()}))
        if by_reader and self._readers != "apart":
            first = item.parts[0]
            name = f"{self._readers}/{Path(first.name).name}"
            agreed = consensus(list(by_reader.values()), self._readers)
            masks.append((Part(first.target, name), agreed))
        for part, mask in masks:
            Image.fromarray(mask.astype(np.uint8) * 255).save(self._path("masks", part.name))
        kept = [part for part, _ in masks]
        present = frozenset(part.target for part, mask in masks if mask.any())
        return (kept if self._readers == "apart" or not by_reader else kept[-1:]), present

    def _mask(self, part: Part, size: tuple[int, int]) -> Mask:
        if part.make is not None:
            return part.make(size)
        union: Mask | None = None
        for file in part.files:
            name = f"{self._tree.source}: {file}"
            values, colours = mask_pixels(decode_file(self._tree, file, one_page=True), name)
            mask = foreground(values, Path(name), mask_max=self._mask_max, colours=colours, united=self._united)
            if union is not None and union.shape != mask.shape:
                raise InputError(f"{self._tree.source}: {file}: has another size than the image's other masks")
            union = mask if union is None else union | mask
        return np.zeros(size, dtype=bool) if union is None else union

    def _path(self, kind: str, name: str) -> Path:
        self._written[f"{kind}/{name.lower()}"] += 1
        if self._written[f"{kind}/{name.lower()}"] > 1:
            raise InputError(f"{self._tree.source}: two files would become {kind}/{name}; only the first is used")
        path = self._folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _entry(item: Item, part: Part, spacing: tuple[float, float] | None, published: dict[str, Any]) -> dict[str, Any]:
    """Our entry; published prompts and further keys are kept as they are."""
    entry: dict[str, Any] = {"img_name": item.image, "mask_name": part.name, "target": part.target}
    if published:
        entry |= {key: value for key, value in published.items() if key not in (*entry, "_target")}
    else:
        texts = [attribute for attribute in item.attributes if attribute.name == "text"]
        entry["prompts"] = {"empty": "", "class": part.target}
        entry["prompt_sources"] = {"empty": ["none"], "class": ["class"]}
        if texts:
            entry["prompts"]["text"] = [text.value for text in texts] if len(texts) > 1 else texts[0].value
            entry["prompt_sources"]["text"] = sorted({text.source for text in texts})
    optional = {"group": item.group, "site": item.site, "reader": part.reader}
    entry |= {key: value for key, value in optional.items() if value is not None}
    if spacing is not None:
        entry |= {"spacing": list(spacing), "spacing_source": "file" if item.load else "table"}
    described = [asdict(attribute) for attribute in (*item.attributes, *part.attributes) if attribute.name != "text"]
    if described:
        entry["attributes"] = described
    return entry


def _agreement(writer: _Writer) -> dict[str, Estimate]:
    found = reader_agreement([masks for _, masks in writer.drawn], [group for group, _ in writer.drawn])
    return {" / ".join(pair): estimate for pair, estimate in found.items()}


def _write_info(
    path: Path, name: str, card: Card | None, writer: _Writer, asked: dict[str, Any], result: Prepared
) -> None:
    values: dict[str, Any] = {"name": name, "groups_known": writer.groups_known}
    if card is not None:
        intensity = {key: value for key, value in asdict(card.intensity).items() if value is not None}
        values |= {
            "licence": card.licence,
            "modality": card.modality,
            "symmetries": sorted(card.symmetries),
            "intensity": intensity,
            "citation": card.citation,
            "page": card.page,
        }
    values["prepared"] = {
        "asked": asked,
        "structure": result.structure,
        "seen": result.seen,
        "entries": result.entries,
        "images": result.images,
        "left_out": list(result.left_out),
        "regrouped": list(result.regrouped),
        "agreement": {pair: asdict(estimate) for pair, estimate in result.agreement.items()},
    }
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
