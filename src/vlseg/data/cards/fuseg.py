"""FUSeg 2021, foot ulcers."""

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern

CARD = Card(
    name="fuseg",
    title="Foot Ulcer Segmentation Challenge 2021",
    modality="photograph",
    targets=("foot ulcer",),
    licence="open with the repository; the challenge asks for citation",
    page="https://github.com/uwm-bigdata/wound-segmentation",
    registration="none",
    files=("the repository as a zip",),
    counts={"train": 810, "test": 200},
    defects=("the 200 official test images have no masks; the official validation images become test",),
    prompts=("none published; class name",),
    symmetries=frozenset({"horizontal", "vertical", "rotation"}),
    groups="unknown; several photographs of one patient exist",
    structures=(
        Structure(
            "Foot Ulcer Segmentation Challenge/train/images/0011.png, train/labels/0011.png, validation/...",
            False,
            by_pattern(
                r"Foot Ulcer Segmentation Challenge/(?P<split>train|validation)/images/(?P<stem>[^/]+)\.png",
                r"Foot Ulcer Segmentation Challenge/(?P<split>train|validation)/labels/(?P<stem>[^/]+)\.png",
                "foot ulcer",
                name="{split}_{stem}",
                official={"train": "train", "validation": "test"},
            ),
        ),
    ),
    citation="Wang et al., FUSeg: The Foot Ulcer Segmentation Challenge, arXiv:2201.00414, 2022",
    mask_max=255,
)
