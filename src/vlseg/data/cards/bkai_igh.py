"""BKAI-IGH NeoPolyp."""

from vlseg.data.cards._polyps import PROMPTS, SYMMETRIES
from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern

CARD = Card(
    name="bkai-igh",
    title="BKAI-IGH NeoPolyp (small)",
    modality="endoscopy",
    targets=("polyp",),
    licence="terms of the competition: research and education",
    page="https://www.kaggle.com/c/bkai-igh-neopolyp",
    registration="Kaggle account, acceptance of the competition's rules",
    files=("bkai-igh-neopolyp.zip",),
    counts={"train": 800, "val": 100, "test": 100},
    defects=(
        "published lists: 3 images stand in two splits, 1 twice in train",
        "6 texts say 'no polyp': the prompts tell where the mask is empty",
        "masks are JPEG in two colours (red neoplastic, green not); both are taken as polyp",
    ),
    prompts=PROMPTS,
    symmetries=SYMMETRIES,
    groups="unknown",
    structures=(
        Structure(
            "bkai-igh-neopolyp.zip: train/train/NAME.jpeg, train_gt/train_gt/NAME.jpeg",
            False,
            by_pattern(r"train/(?P<stem>[^/]+)\.jpe?g", r"train_gt/(?P<stem>[^/]+)\.(?:jpe?g|png)", "polyp"),
        ),
    ),
    citation="Lan et al., NeoUNet: Towards accurate colon polyp segmentation and neoplasm detection, ISVC 2021",
    mask_max=255,
    colours_united=True,
)
