"""DFUC 2022."""

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern

CARD = Card(
    name="dfuc-2022",
    title="Diabetic Foot Ulcer Challenge 2022",
    modality="photograph",
    targets=("foot ulcer",),
    licence="research, by signed agreement; must not be passed on",
    page="https://dfu-challenge.github.io/dfuc2022.html",
    registration="signed form by e-mail",
    files=("DFUC2022_train_release.zip",),
    counts={"train": 1600, "val": 200, "test": 200},
    defects=("published prompts: 33 entries say 'foot foot ulcer'", "published definitions hold a misspelling"),
    prompts=(
        "p1 class; p2 + shape; p3 + colour; p4 + size; p5 + number; p6 + location; p7 class + description; p8, p9 "
        "(MedVLSM)",
        "sources: p1, p7 class; all others mask",
    ),
    symmetries=frozenset({"horizontal", "vertical", "rotation"}),
    groups="unknown; several photographs of one patient exist",
    structures=(
        Structure(
            "DFUC2022_train_images/100001.jpg, DFUC2022_train_masks/100001.png",
            False,
            by_pattern(
                r"(?:DFUC2022_train_)?images/(?P<stem>[^/]+)\.jpe?g",
                r"(?:DFUC2022_train_)?masks/(?P<stem>[^/]+)\.png",
                "foot ulcer",
            ),
        ),
    ),
    citation="Kendrick et al., Translating Clinical Delineation of Diabetic Foot Ulcers into Machine Interpretable "
    "Segmentation, arXiv:2204.11618, 2022",
    mask_max=255,
)
