"""MosMedData+."""

from vlseg.data.cards.card import Card, Structure
from vlseg.data.cards.find import by_pattern
from vlseg.data.cards.lvit import lvit_structure, with_sheet_texts
from vlseg.data.cards.reports import with_groups

_STUDY = r"^(?:mask_)?((?:Jun|Morozov)_.+?)_\d+$"
"""Jun_coronacases_case10_100, Morozov_study_0255_12: the last number is the slice."""

CARD = Card(
    name="mosmeddata-plus",
    title="MosMedData+ (CT slices of MosMedData, Coronacases and others)",
    modality="chest CT slice",
    targets=("COVID-19 infected region",),
    licence="see the sources of the slices; research",
    page="https://www.kaggle.com/datasets/maedemaftouni/covid19-ct-segmentation-dataset",
    registration="Kaggle account",
    files=("archive.zip", "LViT's texts: Train_text.xlsx, Val_text.xlsx, Test_text.xlsx"),
    counts={"train": 2183, "val": 273, "test": 273},
    defects=(
        "LViT's split is by slice: 528 of 546 test images come from a study that is in train, too; prepare --regroup",
        "LViT's texts name laterality, number and place of the lesions: written with sight of the label",
    ),
    prompts=("text: LViT's sentence; source unknown, content from the lesion label",),
    groups="the study in the names: all before the number of the slice",
    structures=(
        lvit_structure("COVID-19 infected region", seen=False, group=_STUDY),
        Structure(
            "frames/NAME.png, masks/NAME.png",
            False,
            with_groups(
                with_sheet_texts(
                    by_pattern(
                        r"frames/(?P<stem>[^/]+)\.png", r"masks/(?P<stem>[^/]+)\.png", "COVID-19 infected region"
                    )
                ),
                _STUDY,
            ),
        ),
    ),
    citation="Morozov et al., MosMedData, 2020; slices by Maftouni et al., 2021; split and texts by Li et al., LViT, "
    "TMI 2023",
)
