"""CAMUS, echocardiography."""

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Card, Item, Mask, Part, Structure
from vlseg.data.volumes import read_slice
from vlseg.records import Attribute

LABELS = {"left ventricular cavity": 1, "myocardium": 2, "left atrium cavity": 3}
"""Value of each structure in the label volumes, which is also the number of its mask folder."""

_FRAME = re.compile(
    r"(?P<folder>(?:.*/)?)(?P<stem>(?P<patient>patient\d+)_(?P<view>[24])CH_(?P<phase>E[DS]))\.(?P<kind>nii|nii\.gz|mhd)$"
)
_TEST_PATIENTS = 50
_VIEWS = {"2": "two-chamber", "4": "four-chamber"}
_PHASES = {"ED": "end of the diastole cycle", "ES": "end of the systole cycle"}


def _find(tree: Tree) -> list[Item]:
    names = set(tree.names)
    frames = [match for match in map(_FRAME.match, tree.names) if match]
    listed = _listed_test_patients(tree)
    items = []
    for match in frames:
        labels = f"{match['folder']}{match['stem']}_gt.{match['kind']}"
        if labels in names:
            items.append(_item(tree, match, labels, "test" if _is_test(match, listed) else "train"))
    return items


def _listed_test_patients(tree: Tree) -> set[str]:
    """Patients in the newer release's list of the test group."""
    found = [name for name in tree.names if PurePosixPath(name).name == "subgroup_testing.txt"]
    return {line.strip() for name in found for line in tree.read(name).decode().splitlines() if line.strip()}


def _is_test(match: re.Match[str], listed: set[str]) -> bool:
    return match["patient"] in listed or "testing" in PurePosixPath(match["folder"]).parts


def _item(tree: Tree, match: re.Match[str], labels: str, official: str) -> Item:
    """The two releases number patients differently: 1-50 stand in both folders of the older one."""
    stem = match["stem"]
    parts = tuple(
        Part(
            target,
            f"{official}/mask_{value}/{stem}_gt.png",
            make=partial(_label, tree, labels, value),
        )
        for target, value in LABELS.items()
    )
    info = f"{match['folder']}Info_{match['view']}CH.cfg"
    image = match.string
    return Item(
        image=f"{official}/{stem}.png",
        file=image,
        parts=parts,
        official=official,
        group=f"{official}/{match['patient']}",
        attributes=(
            Attribute("view", f"{_VIEWS[match['view']]} view", "metadata"),
            Attribute("phase", _PHASES[match["phase"]], "metadata"),
            *_from_info(tree, info),
        ),
        load=partial(_picture, tree, image),
    )


@lru_cache(maxsize=4)
def _slice(tree: Tree, path: str) -> tuple[np.ndarray, tuple[float, float]]:
    name = PurePosixPath(path).name
    files = {name: tree.read(path)}
    if name.endswith(".mhd"):
        for suffix in (".raw", ".zraw"):
            data = path[: -len(".mhd")] + suffix
            if data in tree.readers:
                files[PurePosixPath(data).name] = tree.read(data)
    return read_slice(files, name)


def _picture(tree: Tree, path: str) -> tuple[Image.Image, tuple[float, float]]:
    array, spacing = _slice(tree, path)
    return Image.fromarray(array.astype(np.uint8)), spacing


def _label(tree: Tree, path: str, value: int, size: tuple[int, int]) -> Mask:
    return np.asarray(_slice(tree, path)[0] == value)


def _from_info(tree: Tree, path: str) -> Sequence[Attribute]:
    """Sex, age and image quality from the patient's file."""
    if path not in tree.readers:
        return ()
    pairs = (line.split(":", 1) for line in tree.read(path).decode(errors="replace").splitlines() if ":" in line)
    values = {key.strip().lower(): value.strip() for key, value in pairs}
    found = []
    if values.get("sex"):
        found.append(Attribute("sex", "female" if values["sex"].upper().startswith("F") else "male", "metadata"))
    if values.get("age", "").isdigit():
        found.append(Attribute("age", values["age"], "metadata"))
    if values.get("imagequality"):
        found.append(Attribute("quality", values["imagequality"].lower(), "metadata"))
    return found


CARD = Card(
    name="camus",
    title="CAMUS",
    modality="echocardiography",
    targets=tuple(LABELS),
    licence="CC BY-NC-SA 4.0",
    page="https://www.creatis.insa-lyon.fr/Challenge/camus/",
    registration="account at the makers' site for the older release; none for the newer one",
    files=("training.zip and testing.zip (MHD)", "or CAMUS_public.zip (NIfTI, with database_split/)"),
    counts={"train": 4800, "val": 600, "test": 600},
    defects=(
        "published val and test bear the same 200 image names: in the older release patients 1 to 50 stand in the "
        "training and in the testing folder, and are different people",
        "published train.json is absent from the release of the annotations",
        f"{_TEST_PATIENTS} test patients; val is drawn from the 450 others",
    ),
    prompts=(
        "p1 class; p2 + view; p3 + phase; p4 + sex; p5 + age; p6 + image quality; p7 + shape (MedVLSM)",
        "sources: p1 class; p2 to p6 metadata; p7 mask",
    ),
    groups="patient, in the file name",
    structures=(
        Structure(
            "database_nifti/patient0001/patient0001_2CH_ED.nii.gz, patient0001_2CH_ED_gt.nii.gz, Info_2CH.cfg; or "
            "training/patient0001/patient0001_2CH_ED.mhd, ..., testing/...",
            False,
            _find,
        ),
    ),
    citation="Leclerc et al., Deep Learning for Segmentation using an Open Large-Scale Dataset in 2D "
    "Echocardiography, TMI 2019",
    val_share=1 / 9,
)
