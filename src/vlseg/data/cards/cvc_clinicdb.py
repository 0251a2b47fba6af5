"""CVC-ClinicDB."""

from vlseg.data.cards._polyps import PROMPTS, SYMMETRIES, numbered
from vlseg.data.cards._polyps import test_dataset as from_test_dataset
from vlseg.data.cards.card import Card, Structure

CARD = Card(
    name="cvc-clinicdb",
    title="CVC-ClinicDB (CVC-612)",
    modality="endoscopy",
    targets=("polyp",),
    licence="research; commercial use is not allowed",
    page="https://polyp.grand-challenge.org/CVCClinicDB/",
    registration="none at mirrors; the makers ask for a form",
    files=("CVC-ClinicDB.rar, unpacked, or a mirror's zip",),
    counts={"train": 490, "val": 61, "test": 61},
    defects=(
        "frames of about 30 video sequences: neighbouring numbers show the same polyp, and the published split "
        "puts them on both sides",
    ),
    prompts=PROMPTS,
    symmetries=SYMMETRIES,
    groups="unknown in the files; video sequences exist (give them in a table)",
    structures=(
        Structure(
            "a mirror's PNG/Original/1.png, PNG/Ground Truth/1.png",
            False,
            numbered("PNG/Original", "PNG/Ground[ _]?Truth"),
        ),
        Structure(
            "CVC-ClinicDB/Original/1.tif, CVC-ClinicDB/Ground Truth/1.tif",
            False,
            numbered("Original", "Ground[ _]?Truth"),
        ),
        from_test_dataset("CVC-ClinicDB"),
    ),
    citation="Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, CMIG 2015",
    mask_max=255,
)
