"""Kvasir-SEG."""

from vlseg.data.cards._polyps import PROMPTS, SYMMETRIES
from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern

CARD = Card(
    name="kvasir-seg",
    title="Kvasir-SEG",
    modality="endoscopy",
    targets=("polyp",),
    licence="research and education; commercial use needs the makers' permission",
    page="https://datasets.simula.no/kvasir-seg/",
    registration="none",
    files=("kvasir-seg.zip",),
    counts={"train": 800, "val": 100, "test": 100},
    defects=("masks are JPEG, so not binary", "some images carry a green position display and text"),
    prompts=PROMPTS,
    symmetries=SYMMETRIES,
    groups="unknown",
    structures=(
        Structure(
            "kvasir-seg.zip: Kvasir-SEG/images/NAME.jpg, Kvasir-SEG/masks/NAME.jpg",
            False,
            by_pattern(
                r"images/(?P<stem>[^/]+)\.jpe?g",
                r"masks/(?P<stem>[^/]+)\.(?:jpe?g|png)",
                "polyp",
            ),
        ),
    ),
    citation="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020",
    mask_max=255,
)
