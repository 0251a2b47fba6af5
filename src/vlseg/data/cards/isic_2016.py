"""ISIC 2016, part 1."""

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern

CARD = Card(
    name="isic-2016",
    title="ISIC 2016 challenge, part 1: lesion segmentation",
    modality="dermoscopy",
    targets=("skin lesion",),
    licence="CC0-1.0",
    page="https://challenge.isic-archive.com/data/#2016",
    registration="none",
    files=(
        "ISBI2016_ISIC_Part1_Training_Data.zip",
        "ISBI2016_ISIC_Part1_Training_GroundTruth.zip",
        "ISBI2016_ISIC_Part1_Test_Data.zip",
        "ISBI2016_ISIC_Part1_Test_GroundTruth.zip",
    ),
    counts={"train": 810, "val": 90, "test": 379},
    defects=(
        "published lists: 3 images stand in train and test, 1 twice in train",
        "published prompts call every lesion 'skin melanoma', benign ones included",
    ),
    prompts=(
        "p1 class; p2 + shape; p3 + colour; p4 + size; p5 + number; p6 + location; p7 class + description; p8, p9 "
        "(MedVLSM)",
        "sources: p1, p7 class; all others mask",
    ),
    symmetries=frozenset({"horizontal", "vertical", "rotation"}),
    groups="unknown",
    structures=(
        Structure(
            "folder of the four zips: *_Training_Data/ISIC_0000000.jpg, "
            "*_Training_GroundTruth/ISIC_0000000_Segmentation.png, the same for Test",
            False,
            by_pattern(
                r"ISBI2016_ISIC_Part1_(?P<split>Training|Test)_Data/(?P<stem>ISIC_\d+)\.jpe?g",
                r"ISBI2016_ISIC_Part1_(?P<split>Training|Test)_GroundTruth/(?P<stem>ISIC_\d+)_Segmentation\.png",
                "skin lesion",
                official={"training": "train", "test": "test"},
            ),
        ),
    ),
    citation="Gutman et al., Skin Lesion Analysis toward Melanoma Detection, arXiv:1605.01397, 2016",
    mask_max=255,
)
