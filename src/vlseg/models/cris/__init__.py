"""CRIS."""

from vlseg.models.architecture import Architecture, Published, later
from vlseg.models.medvlsm import RECIPE

_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_RN50 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
_RN101 = "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"

WEIGHTS = (
    Published(
        f"{_OPENAI}/{_RN50}/RN50.pt",
        ("RN50.pt",),
        "MIT (OpenAI CLIP)",
        "corrected",
        sha256=_RN50,
        note="CLIP's towers, around which CRIS is random",
        whole=False,
    ),
    Published(
        f"{_OPENAI}/{_RN101}/RN101.pt",
        ("RN101.pt",),
        "MIT (OpenAI CLIP)",
        "corrected",
        sha256=_RN101,
        note="as RN50.pt, the larger tower",
        whole=False,
    ),
    Published(
        "no official place",
        ("cris_best.pth",),
        "not stated",
        "original",
        note="the authors never published weights (CRIS.pytorch issues 3 and 13): people train them on RefCOCO with "
        "the authors' code, or use a file that a user of that code shared; either loads with --weights FILE",
    ),
)

CRIS = Architecture(
    about="CRIS (Wang et al. 2022) on CLIP's ResNet-50 or -101",
    build=later("vlseg.models.cris.build:build_cris"),
    load=later("vlseg.models.cris.build:load_cris"),
    text_encoder="CLIP, 77 tokens",
    protocols=("corrected", "original", "medvlsm", "attention_mask"),
    published=WEIGHTS,
    recipes={
        "corrected": {"learning_rate": 1e-4, "encoder_rate": 0.1, "batch_size": 4, "schedule": "cosine"},
        "published": {**RECIPE, "protocol": "medvlsm", "learning_rate": 2e-5, "batch_size": 32},
    },
)
