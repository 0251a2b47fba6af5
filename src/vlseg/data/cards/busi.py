"""BUSI, breast ultrasound."""

from collections.abc import Mapping

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern
from vlseg.records import Attribute


def _diagnosis(groups: Mapping[str, str | None]) -> list[Attribute]:
    """The file name gives the diagnosis, which is a label of the image."""
    kind = (groups["kind"] or "").lower()
    present = Attribute("presence", "absent" if kind == "normal" else "present", "label")
    return [present] if kind == "normal" else [present, Attribute("tumor_type", kind, "label")]


def _is_normal(groups: Mapping[str, str | None]) -> bool:
    return (groups["kind"] or "").lower() == "normal"


CARD = Card(
    name="busi",
    title="Breast Ultrasound Images (BUSI)",
    modality="ultrasound",
    targets=("breast tumor",),
    licence="CC BY 4.0 at mirrors; the makers name none",
    page="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    registration="none",
    files=("Dataset_BUSI.zip",),
    counts={"train": 624, "val": 78, "test": 78},
    defects=(
        "17 images have two or three masks, which are united",
        "known to hold near-copies of images and patients in several images: check for near-duplicates",
        "published prompts say 'No tumor' where the mask is empty, and name the diagnosis",
    ),
    prompts=(
        "p1 presence; p2 + benign/malignant; p3 + number; p4 + size; p5 + location; p6 + shape (MedVLSM)",
        "sources: p1, p2 class and label; the others mask as well",
    ),
    symmetries=frozenset({"horizontal"}),
    groups="unknown",
    structures=(
        Structure(
            "Dataset_BUSI_with_GT/benign/benign (1).png, benign (1)_mask.png, benign (1)_mask_1.png",
            False,
            by_pattern(
                r"(?P<kind>benign|malignant|normal) ?\((?P<stem>\d+)\)\.png",
                r"(?P<kind>benign|malignant|normal) ?\((?P<stem>\d+)\)_mask(?:_\d+)?\.png",
                "breast tumor",
                name="{stem}_{kind}",
                attributes=_diagnosis,
                empty_without_mask=_is_normal,
            ),
        ),
        Structure(
            "renamed for MedVLSM: images/1_benign.png, masks/1_benign.png",
            True,
            by_pattern(
                r"images/(?P<stem>\d+)_(?P<kind>benign|malignant|normal)\.png",
                r"masks/(?P<stem>\d+)_(?P<kind>benign|malignant|normal)\.png",
                "breast tumor",
                name="{stem}_{kind}",
                attributes=_diagnosis,
                empty_without_mask=_is_normal,
            ),
        ),
    ),
    citation="Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 2020",
    mask_max=255,
)
