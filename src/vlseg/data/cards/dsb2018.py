"""Data Science Bowl 2018, nuclei."""

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern

CARD = Card(
    name="dsb2018",
    title="2018 Data Science Bowl (BBBC038), stage 1 training images",
    modality="microscopy",
    targets=("nuclei",),
    licence="CC0-1.0",
    page="https://bbbc.broadinstitute.org/BBBC038",
    registration="none",
    files=("stage1_train.zip",),
    counts={"all": 670},
    defects=("one mask file per nucleus, united here; touching nuclei merge",),
    prompts=("none published; class name",),
    symmetries=frozenset({"horizontal", "vertical", "rotation"}),
    groups="unknown; tiles of one plate exist",
    structures=(
        Structure(
            "stage1_train/ID/images/ID.png, stage1_train/ID/masks/*.png",
            False,
            by_pattern(r"(?P<stem>[^/]+)/images/[^/]+\.png", r"(?P<stem>[^/]+)/masks/[^/]+\.png", "nuclei"),
        ),
    ),
    citation="Caicedo et al., Nucleus segmentation across imaging experiments, Nature Methods 2019",
    mask_max=255,
)
