"""`vlseg prompts make`: attributes from files, tables, masks or a first prediction; sentences by a template."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vlseg.data import (
    MEASURES,
    REFERRING,
    layout_folders,
    load_image,
    load_mask,
    new_folder,
    read_table,
    stem,
    write_view,
)
from vlseg.jobs.datasets import open_dataset
from vlseg.prompts import Template, read_template, render
from vlseg.records import LEAKING, Attribute, Dataset, DatasetInfo, InputError, Sample, Source, is_deployable

MeasureOn = Literal["mask", "prediction", "nothing"]
Ask = Callable[[NDArray[np.uint8], str], str]
Segment = Callable[[Sample, NDArray[np.float32]], NDArray[np.bool_]]
QUESTIONS = {
    "shape": "What is the shape of the {target}{where}?",
    "color": "What is the color of the {target}{where}?",
}
BOX_COLOR, BOX_WIDTH = (0, 255, 0), 3


@dataclass(frozen=True)
class Made:
    """What was written.

    Attributes:
        out: the new dataset folder.
        prompts: by new prompt name, sources, whether a user could write it, distinct wordings and an example.
        left_out: prompts of the template that no entry has an attribute for.
    """

    out: Path
    prompts: tuple[dict[str, object], ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class MakeOptions:
    """How prompts are made.

    Attributes:
        template: built-in name or YAML file.
        measure: what size, number, location, shape and colour are measured on.
        run: a trained run or model folder, for a first prediction.
        table: CSV of attributes by image.
        vqa: question-answering model for shape and colour, hub id or folder.
        deployable: leave out what needs the truth, or whose source nobody knows.
        published_location: the location words of MedVLSM's BUSI texts.
    """

    template: str = "default"
    measure: MeasureOn = "mask"
    run: str | None = None
    table: Path | None = None
    vqa: str | None = None
    deployable: bool = False
    published_location: bool = False
    device: str = "auto"


def make_prompts(
    path: Path,
    out: Path,
    options: MakeOptions,
    *,
    target: str | None = None,
    progress: Callable[[Sequence[Sample]], Iterator[Sample]] = iter,
) -> Made:
    """Write a dataset folder with the prompts of a template beside those that are there; images stay in place.

    Raises:
        InputError: a template, table or model that cannot be read; nothing that the options allow; `out` in use.
    """
    template = read_template(options.template)
    if options.deployable and options.measure == "mask":
        options = replace(options, measure="nothing")
    if options.measure == "prediction" and options.run is None:
        raise InputError("--measure prediction: give the model that predicts first with --run")
    new_folder(out)  # known before the images are measured
    dataset = open_dataset(path, target)
    unnamed = [sample.id for sample in dataset.samples if sample.target is None]
    if unnamed:
        raise InputError(f"{path}: sample {unnamed[0]} names no target; give --target")
    describe = _Describer(dataset, template, options)
    samples = [replace(sample, attributes=describe(sample)) for sample in progress(dataset.samples)]
    dataset, made = _written(Dataset(dataset.info, tuple(samples)), template)
    left_out = tuple(name for name in template.prompts if name not in {str(row["name"]) for row in made})
    write_view(dataset, out, extra={"template": options.template, "measured_on": options.measure})
    return Made(out, tuple(made), left_out)


def _written(dataset: Dataset, template: Template) -> tuple[Dataset, list[dict[str, object]]]:
    """The dataset with the template's prompts, and one row for each that says more than the target."""
    sources = dict(dataset.info.prompt_sources)
    prompts = [dict(sample.prompts) for sample in dataset.samples]
    declared = [dict(sample.prompt_sources) for sample in dataset.samples]
    rows: list[dict[str, object]] = []
    for name in template.prompts:
        rendered = [render(template, name, sample.target or "", sample.attributes) for sample in dataset.samples]
        plain = name in ("empty", "class")
        if not plain and not any(one.used for one in rendered):
            continue
        drawn: frozenset[Source] = frozenset().union(*(one.sources for one in rendered))
        sources[name] = drawn
        for index, one in enumerate(rendered):
            prompts[index][name] = one.wordings
            declared[index][name] = one.sources
        texts = list(dict.fromkeys(text for one in rendered for text in one.wordings))
        rows.append(
            {
                "name": name,
                "sources": sorted(drawn),
                "deployable": is_deployable(drawn),
                "wordings": len(texts),
                "example": max(texts[:50], key=len),
                "without": sum(not one.used for one in rendered) if not plain else 0,
            }
        )
    samples = [
        replace(sample, prompts=prompts[index], prompt_sources=declared[index])
        for index, sample in enumerate(dataset.samples)
    ]
    return Dataset(replace(dataset.info, prompt_sources=sources), tuple(samples)), rows


class _Describer:
    """Gives a sample's attributes: what is there, what the table says, what is measured or asked."""

    def __init__(self, dataset: Dataset, template: Template, options: MakeOptions) -> None:
        self._info = dataset.info
        self._options = options
        self._wanted = template.attributes & MEASURES.keys()
        self._rows = read_table(options.table) if options.table else {}
        if options.table is not None:
            _check_table(options.table, self._rows, dataset)
        self._ask = _asker(options)
        self._segment = _segmenter(options)
        self._source: Source = "mask" if options.measure == "mask" else "image"

    def __call__(self, sample: Sample) -> tuple[Attribute, ...]:
        found = {attribute.name: attribute for attribute in sample.attributes}
        found |= {attribute.name: attribute for attribute in self._measured(sample)}
        row = next((self._rows[name] for name in _names(sample, self._info) if name in self._rows), None)
        if row is not None:
            found |= {attribute.name: attribute for attribute in row.attributes}
        if self._options.deployable:
            found = {name: attribute for name, attribute in found.items() if attribute.source not in LEAKING}
        return tuple(found.values())

    def _measured(self, sample: Sample) -> list[Attribute]:
        asks = self._ask is not None and self._wanted & QUESTIONS.keys()
        if self._options.measure == "nothing" and not asks:
            return []
        image = load_image(sample, self._info)
        region = self._region(sample, image)
        words: dict[str, str | None] = {}
        if region is not None:
            words = {name: MEASURES[name](region, image) for name in self._wanted}
            if self._options.published_location and "location" in words:
                from vlseg.data import location_words

                words["location"] = location_words(region, published=True)
        if self._ask is not None and (region is None or region.any()):
            words |= {name: self._answer(name, sample, image, region) for name in self._wanted & QUESTIONS.keys()}
        return [Attribute(name, word, self._source, name in REFERRING) for name, word in words.items() if word]

    def _region(self, sample: Sample, image: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        if self._segment is not None:
            return self._segment(sample, image)
        if self._options.measure != "mask" or not sample.mask_paths:
            return None
        return load_mask(sample, self._info, (image.shape[0], image.shape[1]))

    def _answer(self, name: str, sample: Sample, image: NDArray[np.float32], region: NDArray[np.bool_] | None) -> str:
        """As published, a green box shows the model what is meant, where there is a region."""
        pixels = np.round(image * 255).astype(np.uint8)
        where = ""
        if region is not None:
            pixels, where = _boxed(pixels, region), " in the green box"
        assert self._ask is not None
        return self._ask(pixels, QUESTIONS[name].format(target=sample.target, where=where))


def _names(sample: Sample, info: DatasetInfo) -> tuple[str, str]:
    """What a table may call the sample's image: its path below images/, or its bare name; both without suffix."""
    below = sample.image_path.relative_to(layout_folders(info)[0]).as_posix()
    return stem(below), stem(sample.image_path.name)


def _check_table(table: Path, rows: Mapping[str, object], dataset: Dataset) -> None:
    strange = sorted(rows.keys() - {name for sample in dataset.samples for name in _names(sample, dataset.info)})
    if strange:
        raise InputError(
            f"{table}: '{strange[0]}' is no image of the dataset ({len(strange)} such lines); correct 'file'"
        )


def _asker(options: MakeOptions) -> Ask | None:
    if options.vqa is None:
        return None
    from vlseg.models.vqa import load_vqa

    return load_vqa(options.vqa, device=options.device)


def _segmenter(options: MakeOptions) -> Segment | None:
    """The first pass: the target's name alone is the prompt, so that no truth enters."""
    if options.measure != "prediction" or options.run is None:
        return None
    from vlseg.evaluation import load

    predictor = load(options.run, device=options.device)

    def segment(sample: Sample, image: NDArray[np.float32]) -> NDArray[np.bool_]:
        return predictor.segment(image, [sample.target or ""])[0].mask

    return segment


def _boxed(pixels: NDArray[np.uint8], region: NDArray[np.bool_]) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(pixels)
    rows, columns = np.nonzero(region)
    corners = (int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max()))
    ImageDraw.Draw(picture).rectangle(corners, outline=BOX_COLOR, width=BOX_WIDTH)
    return np.asarray(picture)
