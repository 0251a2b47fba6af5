"""ETIS-LaribPolypDB."""

from vlseg.data.cards._polyps import PROMPTS, SYMMETRIES, numbered
from vlseg.data.cards._polyps import test_dataset as from_test_dataset
from vlseg.data.cards.card import Card, Structure

CARD = Card(
    name="etis",
    title="ETIS-LaribPolypDB",
    modality="endoscopy",
    targets=("polyp",),
    licence="research",
    page="https://polyp.grand-challenge.org/ETISLarib/",
    registration="none at mirrors",
    files=("ETIS-LaribPolypDB.rar, unpacked, or TestDataset.zip",),
    counts={"train": 20, "val": 0, "test": 176},
    defects=("published val list is empty", "published testB.json repeats test.json"),
    prompts=PROMPTS,
    symmetries=SYMMETRIES,
    groups="unknown in the files; video sequences exist",
    structures=(
        from_test_dataset("ETIS-LaribPolypDB"),
        Structure(
            "ETIS-LaribPolypDB/1.tif, Ground Truth/p1.tif", False, numbered("ETIS-LaribPolypDB", "Ground[ _]?Truth")
        ),
    ),
    citation="Silva et al., Toward embedded detection of polyps in WCE images, IJCARS 2014",
    mask_max=255,
)
