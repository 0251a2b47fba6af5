"""CVC-ColonDB."""

from vlseg.data.cards._polyps import PROMPTS, SYMMETRIES, numbered
from vlseg.data.cards._polyps import test_dataset as from_test_dataset
from vlseg.data.cards.card import Card, Structure

CARD = Card(
    name="cvc-colondb",
    title="CVC-ColonDB",
    modality="endoscopy",
    targets=("polyp",),
    licence="research",
    page="https://github.com/DengPingFan/PraNet",
    registration="none",
    files=("TestDataset.zip",),
    counts={"train": 20, "val": 0, "test": 360},
    defects=("published val list is empty", "380 frames of 15 sequences, on both sides of the published split"),
    prompts=PROMPTS,
    symmetries=SYMMETRIES,
    groups="unknown in the files; video sequences exist",
    structures=(
        from_test_dataset("CVC-ColonDB"),
        Structure("images/1.tif, masks/1.tif (also p1.tif)", False, numbered("images", "masks")),
    ),
    citation="Tajbakhsh et al., Automated polyp detection in colonoscopy videos, TMI 2015",
    mask_max=255,
)
