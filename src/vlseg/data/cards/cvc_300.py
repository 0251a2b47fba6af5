"""CVC-300, the 60 test frames."""

from vlseg.data.cards._polyps import PROMPTS, SYMMETRIES, TEST_DATASET, numbered
from vlseg.data.cards._polyps import test_dataset as from_test_dataset
from vlseg.data.cards.card import Card, Structure

CARD = Card(
    name="cvc-300",
    title="CVC-300 (test frames of EndoScene)",
    modality="endoscopy",
    targets=("polyp",),
    licence="research",
    page="https://github.com/DengPingFan/PraNet",
    registration="none",
    files=("TestDataset.zip",),
    counts={"test": 60},
    defects=(
        "MedVLSM's current list of this name is CVC-ColonDB's, byte for byte; the right one has 60 images numbered "
        "0 to 59",
    ),
    prompts=PROMPTS,
    symmetries=SYMMETRIES,
    groups="unknown in the files; video sequences exist",
    structures=(
        from_test_dataset("CVC-300"),
        Structure("images/0.png, masks/0.png", False, numbered("images", "masks")),
    ),
    citation=f"Vazquez et al., A benchmark for endoluminal scene segmentation, JHE 2017; frames of {TEST_DATASET}",
    mask_max=255,
)
