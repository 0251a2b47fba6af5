"""QaTa-COV19 v2."""

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern
from vlseg.data.cards.lvit import lvit_structure, with_sheet_texts
from vlseg.data.cards.reports import reports_structure, with_groups

_SUBJECT = r"(?:^|_)(?:sub-|cxr_)(s\d+)"
"""BIMCV's subject: sub-S09340_ses-E17282_run-1..., cxr_s10578-e23974-r1."""

CARD = Card(
    name="qata-cov19",
    title="QaTa-COV19 v2",
    modality="chest X-ray",
    targets=("COVID-19 infected region",),
    licence="research, with citation",
    page="https://www.kaggle.com/datasets/aysendegerli/qatacov19-dataset",
    registration="Kaggle account",
    files=("archive.zip (QaTa-COV19-v2)", "LViT's texts: Train_Val_text.xlsx, Test_text.xlsx"),
    counts={"train": 5716, "val": 1429, "test": 2113},
    defects=("LViT's texts name laterality, number and place of the lesions: written with sight of the label",),
    prompts=("text: LViT's sentence; source unknown, content from the lesion label",),
    groups="the subject of BIMCV in names such as cxr_s10578-e23974-r1; the 2,951 images covid_N (training) have none",
    structures=(
        lvit_structure("COVID-19 infected region", seen=False, group=_SUBJECT),
        reports_structure("COVID-19 infected region", group=_SUBJECT),
        Structure(
            "QaTa-COV19-v2/Train Set/Images/NAME.png, Train Set/Ground-truths/mask_NAME.png, Test Set/...",
            False,
            with_groups(
                with_sheet_texts(
                    by_pattern(
                        r"(?P<split>Train|Test) Set/Images/(?P<stem>[^/]+)\.png",
                        r"(?P<split>Train|Test) Set/Ground-truths/mask_(?P<stem>[^/]+)\.png",
                        "COVID-19 infected region",
                        official={"train": "train", "test": "test"},
                    )
                ),
                _SUBJECT,
            ),
        ),
    ),
    citation="Degerli et al., OSegNet: Operational Segmentation Network for COVID-19 Detection, ICIP 2022",
    val_share=0.2,
)
