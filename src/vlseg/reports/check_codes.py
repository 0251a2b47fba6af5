"""What each code of a dataset check is called, what it counts, and what to do about it."""

from typing import NamedTuple


class About(NamedTuple):
    """`title` names the group, `unit` and `units` what it counts; `mend` says what to do, with code in backticks."""

    title: str
    unit: str
    units: str
    mend: str


_FIX = "`vlseg data check DATA --fix NEW`"
_REGROUP = "`vlseg data prepare NAME ... --regroup` draws a split in which patients and near-copies stand whole."
_LOOK = "Look at them first."
_READ = "Nothing for vlseg, which reads both; other software may not."

CODES: dict[str, About] = {
    "missing_file": About(
        "Files are missing", "file", "files", "Put them into images/ or masks/, or take their entries out."
    ),
    "undecodable": About(
        "Files cannot be read", "file", "files", "Copy them again from the source; what each lacks is said above."
    ),
    "broken_json": About(
        "Annotation files cannot be read", "file", "files", "Mend the file at the place that is named."
    ),
    "bad_path": About(
        "File names lead out of the dataset", "name", "names", "Name files as they lie below images/ and masks/."
    ),
    "size_mismatch": About(
        "Masks differ in size from their images",
        "mask",
        "masks",
        "Export the masks again at the size of the images.",
    ),
    "label_map": About(
        "Masks hold several values or colours",
        "mask",
        "masks",
        "Say what each value means: `vlseg data prepare own --mask-map FILE`.",
    ),
    "odd_mask_values": About(
        "Masks hold values that do not fit the others'", "mask", "masks", "Save all masks of the set as 0 and 255."
    ),
    "absent_value": About(
        "Declared values are in no mask",
        "value",
        "values",
        "Correct `mask_value` in the annotation files or dataset.json.",
    ),
    "same_annotations": About(
        "Annotations are another dataset's",
        "pair of datasets",
        "pairs of datasets",
        "Get each dataset's own annotation files, or leave one of the two out.",
    ),
    "split_leak": About(
        "Images are listed in several splits",
        "image",
        "images",
        f"{_FIX} keeps each in one split only, the tested one before the others.",
    ),
    "group_leak": About("The same patient is in several splits", "patient", "patients", _REGROUP),
    "shared_image": About(
        "Images of one dataset are in another split of another",
        "image",
        "images",
        "Take the entries out of one of the two.",
    ),
    "warning shared_image": About(
        "Two datasets hold the same images",
        "image",
        "images",
        "Take the entries out of one of the two: they count twice.",
    ),
    "near_duplicate": About("Images of different splits look the same", "pair", "pairs", f"{_LOOK} {_REGROUP}"),
    "note near_duplicate": About(
        "Images of one split look the same", "pair", "pairs", f"{_LOOK} Of true copies leave one out: they count twice."
    ),
    "announces_absence": About(
        "Texts tell that nothing is there",
        "entry",
        "entries",
        "Test with `--prompt class` as well, whose words tell nothing of it.",
    ),
    "contradicts_mask": About(
        "Texts say that nothing is there, and the mask is not empty",
        "entry",
        "entries",
        "Correct the text or the mask.",
    ),
    "inverted_masks": About(
        "Most masks cover more than half of their image",
        "dataset",
        "datasets",
        f'{_LOOK} Where 0 is foreground, say so: `"mask_value": 0` in dataset.json.',
    ),
    "misaligned_masks": About(
        "The masks of a split fit their images better elsewhere",
        "split",
        "splits",
        f"{_LOOK} Export masks anew that are mirrored, turned or shifted.",
    ),
    "full_mask": About(
        "Masks cover nearly the whole image", "entry", "entries", f"{_LOOK} Save inverted masks the other way round."
    ),
    "several_pages": About("Image files hold several pages", "image", "images", "Save one image per file."),
    "bit_depth": About(
        "Images of more than 8 bits without an intensity policy",
        "image",
        "images",
        'Give one in dataset.json: `"intensity": {"kind": "percentile"}`.',
    ),
    "mixed_bit_depth": About("Images differ in bit depth", "dataset", "datasets", "Save all images at one bit depth."),
    "untrained_target": About(
        "Targets are tested and not trained on",
        "target",
        "targets",
        "Test the others alone with `--target`, or bring some entries of it to train.",
    ),
    "group_unknown": About(
        "Entries name no patient beside others that do", "entry", "entries", "Give every entry its `group`."
    ),
    "name_collision": About(
        "One name in several splits",
        "name",
        "names",
        "Look whether they are the same images; if not, give each its own name.",
    ),
    "redundant_file": About(
        "A further annotation file repeats a split", "file", "files", "Do not take it for another test set."
    ),
    "duplicate_entry": About("Entries stand twice", "entry", "entries", f"{_FIX} takes the second one out."),
    "empty_split": About(
        "Splits without entries", "split", "splits", "Nothing, if the set is not meant to have this split."
    ),
    "missing_split": About(
        "Splits without an annotation file", "split", "splits", "Nothing, if the set is not meant to have this split."
    ),
    "missing_prompt_key": About(
        "Prompts are missing from entries", "entry", "entries", "Choose another prompt, or add the texts."
    ),
    "unpaired_file": About(
        "Images or masks without a partner", "file", "files", "Give the two files of a pair the same stem."
    ),
    "not_used": About(
        "What the folder holds and vlseg does not use",
        "sort of files",
        "sorts of files",
        "Nothing, if you do not miss it.",
    ),
    "unknown_source": About(
        "Nobody says where texts come from",
        "entry",
        "entries",
        'Say it in the entries, in other layouts in dataset.json: `"prompt_sources": {"text": ["class", "user"]}`.',
    ),
    "misaligned_mask": About("Single masks fit their image better elsewhere", "mask", "masks", _LOOK),
    "empty_mask": About(
        "The target is absent (empty masks)",
        "mask",
        "masks",
        "Nothing, if that is right: absent targets are scored by a rule of their own.",
    ),
    "non_binary_mask": About(
        "Masks have soft borders",
        "mask",
        "masks",
        "Nothing: values above half are foreground. Masks saved as PNG of 0 and 255 have none.",
    ),
    "class_imbalance": About(
        "One target is far more frequent than another",
        "dataset",
        "datasets",
        "Read the mean over targets beside the mean over entries.",
    ),
    "ambiguous_prompt": About(
        "A prompt fits several masks of one image",
        "text",
        "texts",
        "Nothing, if it means all of them: the truth is their union.",
    ),
    "unused_file": About(
        "Files that no annotation names", "file", "files", "Nothing, or annotate them: they are not used."
    ),
    "degenerate_box": About(
        "Boxes enclose nothing", "box", "boxes", f"Nothing for vlseg, which uses masks; {_FIX} takes the boxes out."
    ),
    "exif_orientation": About(
        "EXIF turns images", "image", "images", "Nothing for vlseg; for other software save them upright."
    ),
    "prompt_type_mixture": About("A prompt is a text here and a list there", "prompt", "prompts", _READ),
    "wording_count": About("A prompt has more wordings here than there", "prompt", "prompts", _READ),
    "long_prompt": About(
        "Texts are so long that text encoders cut them off", "entry", "entries", "Choose a prompt of fewer words."
    ),
}
"""By code, or "SEVERITY CODE" where that tells it better; in the order in which groups of one severity are listed."""

WORDING = "wording"
WORDING_CODES: dict[str, str] = {
    "repeated_word": "a word or place stands twice",
    "number_agreement": "number and noun do not agree",
    "misspelling": "a word seems to be misspelt",
    "stray_blank": "a blank too many",
    "stray_article": "an article in the middle of a phrase",
    "sentence_answer": "a whole answer inside a phrase",
}
"""Defects of texts that are one group, WORDING."""

ABOUT_WORDING = About(
    "Wording of the texts",
    "entry",
    "entries",
    f"{_FIX} mends what has one clear mend; mended texts are other inputs than the published ones.",
)

LOOKED_FOR = {
    "texts": "entries that stand twice, missing prompts, texts that tell the truth, wording",
    "files": "missing and unreadable files, masks of other sizes or with odd values, leaks between splits",
    "near": "images that look the same",
}
"""What is looked for: in the annotation files, in images and masks, between images."""
