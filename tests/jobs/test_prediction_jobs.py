"""The file of `vlseg predict --jobs`: everything wrong in it is told at once, by number."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlseg.evaluation import Ask, Wanted, find_images
from vlseg.jobs.prediction_jobs import SHOWN, read_jobs
from vlseg.records import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.png", ".hidden/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 6), 90).save(tmp_path / name)
    return tmp_path


def written(folder: Path, entries: object) -> Path:
    path = folder / "jobs.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


ENTRIES: list[dict[str, Any]] = [
    {"image": "a.png", "prompts": ["polyp", "cyst", "polyp"]},
    {"image": "sub/b.png", "prompts": [""], "name": "case-7/left", "threshold": 0.25},
    {"image": "./sub/../a.png", "prompts": ["nodule", "cyst"], "name": "a"},
    {"image": ".hidden/c.png", "prompts": ["x"], "threshold": None, "name": None},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ENTRIES),
        "\n \n".join(json.dumps(entry) for entry in ENTRIES) + "\n\n",
        "\ufeff" + "\r\n".join(json.dumps(entry) for entry in ENTRIES),
    ],
    ids=["list", "lines", "lines of Windows with a byte order mark"],
)
def test_each_image_once_with_all_that_is_wanted_of_it(folder: Path, text: str) -> None:
    assert read_jobs(written(folder, text)) == [
        Ask(folder / "a.png", (Wanted("polyp", "a"), Wanted("cyst", "a"), Wanted("nodule", "a"))),
        Ask(folder / "sub" / "b.png", (Wanted("", "case-7/left", 0.25),)),
        Ask(folder / ".hidden" / "c.png", (Wanted("x", "c"),)),
    ]


def test_images_elsewhere_are_called_by_their_own_name(folder: Path) -> None:
    place = folder / "sub" / "jobs.json"
    place.write_text(json.dumps([{"image": name, "prompts": ["x"]} for name in ("../a.png", str(folder / "a.png"))]))
    assert read_jobs(place) == [Ask(folder / "sub" / "../a.png", (Wanted("x", "a"),))]


WRONG: dict[str, tuple[object, str]] = {
    "no object": (7, r"entry 2: is no object; write \{"),
    "a text": ("a.png", "entry 2: is no object"),
    "no image": ({"prompts": ["x"]}, "entry 2: 'image' is missing"),
    "an image that is no text": ({"image": 3, "prompts": ["x"]}, "entry 2: 'image' is no text"),
    "an image that is not there": ({"image": "none.png", "prompts": ["x"]}, r"entry 2: no image at 'none\.png'"),
    "a folder": ({"image": "sub", "prompts": ["x"]}, "entry 2: 'image' 'sub' is no file"),
    "a path of no system": ({"image": "a\0.png", "prompts": ["x"]}, "entry 2: no image at"),
    "a very long path": ({"image": "a" * 5000, "prompts": ["x"]}, "entry 2: no image at"),
    "no prompts": ({"image": "a.png"}, "entry 2: 'prompts' must be a list"),
    "an empty list": ({"image": "a.png", "prompts": []}, "entry 2: 'prompts' must be a list of texts, at least one"),
    "a prompt for prompts": ({"image": "a.png", "prompts": "polyp"}, "entry 2: 'prompts' must be a list"),
    "a prompt that is no text": ({"image": "a.png", "prompts": ["x", None]}, "entry 2: prompt 2 is no text"),
    "half a character": ({"image": "a.png", "prompts": ["\ud800"]}, "entry 2: prompt 1 is no text"),
    "an unknown field": ({"image": "a.png", "prompts": ["x"], "promt": "y"}, "entry 2: 'promt' is no field"),
    "a threshold above 1": ({"image": "a.png", "prompts": ["x"], "threshold": 1.5}, "entry 2: 'threshold' is 1.5"),
    "a threshold that is true": ({"image": "a.png", "prompts": ["x"], "threshold": True}, "'threshold' is true"),
    "no number": ({"image": "a.png", "prompts": ["x"], "threshold": float("nan")}, "'threshold' is NaN"),
    "a name that leaves the folder": ({"image": "a.png", "prompts": ["x"], "name": "../b"}, r"'name' '\.\./b' is no"),
    "a name from the root": ({"image": "a.png", "prompts": ["x"], "name": "/tmp/b"}, "'name' '/tmp/b' is no"),
    "a hidden name": ({"image": "a.png", "prompts": ["x"], "name": "a/.b"}, "'name' .* is no name"),
    "a name of Windows": ({"image": "a.png", "prompts": ["x"], "name": "c:\\b"}, "'name' .* is no name"),
    "an endless name": ({"image": "a.png", "prompts": ["x"], "name": "b" * 200}, "'name' .* is no name"),
    "another threshold": ({"image": "a.png", "prompts": ["ok"], "threshold": 0.5}, 'entry 2: asks for "ok" as entry 1'),
    "another name": ({"image": "a.png", "prompts": ["ok"], "name": "z"}, 'entry 2: asks for "ok" as entry 1 does'),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_number(folder: Path, case: str) -> None:
    entry, message = WRONG[case]
    with pytest.raises(InputError, match=f"1 of 3 entries are wrong: .*{message}") as told:
        read_jobs(written(folder, [{"image": "a.png", "prompts": ["ok"]}, entry, ENTRIES[1]]))
    assert "\n" not in str(told.value)


def test_all_that_is_wrong_is_told_at_once(folder: Path) -> None:
    lines = ['{"image": "a.png", "prompts": ["x"]}', "{", '{"image": "b.png", "promts": ["x"]}', "", "[1]"]
    with pytest.raises(InputError) as told:
        read_jobs(written(folder, "\n".join(lines)))
    message = str(told.value)
    assert "3 of 4 entries are wrong: line 2: is no JSON" in message
    assert "line 3: 'promts' is no field" in message
    assert "no image at 'b.png'" in message
    assert "'prompts' must be a list" in message
    assert "line 5: is no object" in message
    with pytest.raises(InputError, match=f"entry {SHOWN}: .*; and 5 more$"):
        read_jobs(written(folder, [{}] * (SHOWN + 5)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no entry"),
        ("[]", "holds no entry"),
        ("[1, 2", "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ('{"jobs": []}', r"line 1: 'jobs' is no field \(known: image, prompts, name, threshold\)"),
    ],
)
def test_what_is_no_list_of_jobs(folder: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_jobs(written(folder, text))


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        read_jobs(folder / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_jobs(folder)
    with pytest.raises(InputError, match="no UTF-8 text"):
        read_jobs(folder / "a.png")


def test_the_documented_file(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    (example,) = re.findall(r"```json\n(\[.*?)```", page, flags=re.DOTALL)
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        (folder / "images" / name).write_bytes((folder / "a.png").read_bytes())
    first, second = read_jobs(written(folder, example))
    assert first.wanted == (Wanted("polyp", "images/a"), Wanted("small round polyp", "images/a"))
    assert second.wanted == (Wanted("polyp", "patient-7/left", 0.4),)


def test_links_to_one_file_are_images_of_their_own_here_as_in_a_folder(folder: Path) -> None:
    """Each name in a folder gets its mask; names of one path are one."""
    (folder / "soft.png").symlink_to(folder / "a.png")
    (folder / "hard.png").hardlink_to(folder / "a.png")
    names = ("a.png", "./sub/../a.png", "soft.png", "hard.png")
    asks = read_jobs(written(folder, [{"image": name, "prompts": ["polyp"]} for name in names[:1] + names[2:]]))
    listed = [ask.image.name for ask in asks]
    assert listed == ["a.png", "soft.png", "hard.png"]
    assert sorted(listed) == sorted(path.name for path in find_images(folder).images if path.parent == folder)
    one = read_jobs(
        written(folder, [{"image": "a.png", "prompts": ["x"]}, {"image": names[1], "prompts": ["y"], "name": "a"}])
    )
    assert [[wanted.prompt for wanted in ask.wanted] for ask in one] == [["x", "y"]]
