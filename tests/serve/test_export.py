"""Exported files give back the masks, and say what they are for."""

import base64
import io
import json
import zipfile
import zlib
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco
from served import SIZE, app_of, asking, mask_text, picture, pixels, run, uploaded

from vlseg.evaluation import overlay
from vlseg.serve.pictures import NOTICE
from vlseg.serve.polygons import polygons

YY, XX = np.mgrid[: SIZE[0], : SIZE[1]]
RING = (np.hypot(YY - 20, XX - 25) < 12) & (np.hypot(YY - 20, XX - 25) > 5)
CORNER = (YY < 8) & (XX > 40)
ITEMS = [
    {"prompt": "a ring / ../x", "mask": mask_text(RING), "colour": "#ff0000", "threshold": 0.5, "edited": True},
    {"prompt": "a corner", "mask": mask_text(CORNER.astype(np.uint8) * 255), "colour": "#0000ff"},
    {"prompt": "nothing", "mask": mask_text(np.zeros(SIZE, dtype=bool))},
]


def exported(what: str, items: Any = ITEMS) -> httpx2.Response:
    async def work() -> httpx2.Response:
        async with asking(app_of()) as client:
            id = await uploaded(client)
            body = json.dumps({"what": what, "items": items})
            headers = {"Content-Type": "application/json"}
            return await client.post(f"/v1/images/{id}/export", content=body, headers=headers)

    answer: httpx2.Response = run(work())
    return answer


def decoded(found: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    if not found:
        return np.zeros(size, dtype=bool)
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects(found, *size)))).astype(bool)


@settings(max_examples=300, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_polygons_are_the_mask_to_the_pixel(mask: np.ndarray) -> None:
    """Whatever it looks like: holes in holes, parts that touch at corners, single pixels, the image's edge."""
    found = polygons(mask)
    assert np.array_equal(decoded(found, mask.shape), mask)
    assert all(len(polygon) >= 8 for polygon in found)


def test_a_polygon_has_the_corners_of_its_part() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:5, 3:7] = True
    mask[7, 1] = True
    assert [sorted(zip(p[::2], p[1::2], strict=True)) for p in polygons(mask)] == [
        [(3, 2), (3, 5), (7, 2), (7, 5)],
        [(1, 7), (1, 8), (2, 7), (2, 8)],
    ]
    assert polygons(np.zeros((4, 4), dtype=bool)) == []


def test_noise_is_no_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlseg.serve.polygons.MOST_EDGES", 100)
    noise = np.random.default_rng(0).random(SIZE) > 0.5
    answer = exported("coco", [{"prompt": "a", "mask": mask_text(noise)}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_fine")


def test_all_masks_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty-four small files may hold masks of gigabytes, and outlines for an hour."""
    monkeypatch.setattr("vlseg.serve.polygons.MOST_EDGES", 300)
    assert exported("coco", ITEMS[:1]).status_code == 200
    answer = exported("coco", [ITEMS[0]] * 4)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_fine")
    monkeypatch.setattr("vlseg.serve.serving.ANSWER_PIXELS", 2 * 40 * 50)
    for what in ("masks", "session", "overlay", "coco"):
        assert exported(what, ITEMS[1:]).status_code == 200
        answer = exported(what, ITEMS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_much_at_once")
        assert answer.json()["error"]["message"].startswith("items: ")


def test_holes_are_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied again for each hole, the outline of a hundred thousand takes minutes."""
    copied, joined = [], np.concatenate

    def counted(pieces: Any, *more: Any, **options: Any) -> Any:
        copied.append(sum(len(piece) for piece in pieces))
        return joined(pieces, *more, **options)

    mask = np.ones((60, 60), dtype=bool)
    mask[1:-1:3, 1:-1:3] = False
    with monkeypatch.context() as patched:
        patched.setattr(np, "concatenate", counted)
        found = polygons(mask)
    assert sum(copied) <= sum(len(polygon) for polygon in found)
    assert np.array_equal(decoded(found, mask.shape), mask)


def test_coco() -> None:
    answer = exported("coco")
    values = answer.json()
    assert "attachment" in answer.headers["Content-Disposition"]
    assert values["info"]["description"] == NOTICE
    assert [one["name"] for one in values["categories"]] == ["a ring / ../x", "a corner", "nothing"]
    assert (values["images"][0]["width"], values["images"][0]["height"]) == (50, 40)
    for one, mask in zip(values["annotations"], (RING, CORNER), strict=True):
        assert np.array_equal(decoded(one["segmentation"], SIZE), mask)
        assert one["area"] == mask.sum()
        left, top, width, height = one["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert mask[top].any()
        assert mask[:, left + width - 1].any()
    assert values["annotations"][0]["vlseg"]["edited"]


def test_masks() -> None:
    with zipfile.ZipFile(io.BytesIO(exported("masks").content)) as archive:
        names = archive.namelist()
        assert all("/" not in name and ".." not in name for name in names)
        assert NOTICE in archive.read("README.txt").decode()
        listed = json.loads(archive.read("prompts.json"))
        assert listed["notice"] == NOTICE
        for told, item, mask in zip(listed["masks"], ITEMS, (RING, CORNER, RING & CORNER), strict=True):
            image = Image.open(io.BytesIO(archive.read(told["file"])))
            assert (image.mode, image.info["Comment"]) == ("L", NOTICE)
            assert np.array_equal(np.asarray(image), mask.astype(np.uint8) * 255)
            assert (told["prompt"], told["area_px"]) == (item["prompt"], mask.sum())


def test_overlay() -> None:
    image = Image.open(io.BytesIO(exported("overlay", ITEMS[:1]).content))
    assert image.info["Comment"] == NOTICE
    wanted = overlay(pixels().astype(np.float32) / 255, RING, (255, 0, 0))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(wanted)).max() <= 1
    assert np.array_equal(np.asarray(image)[0, 0], pixels()[0, 0])
    both = np.asarray(Image.open(io.BytesIO(exported("overlay").content)))
    assert both[0, 49, 2] > 200 > 100 > both[0, 49, 0]


def test_session() -> None:
    values = exported("session").json()
    assert values["notice"] == NOTICE
    assert values["image"] == {"width": 50, "height": 40, "spacing_mm": None}
    assert [item["prompt"] for item in values["items"]] == [item["prompt"] for item in ITEMS]
    assert np.array_equal(picture(values["items"][0]["mask"]), RING)
    assert (values["items"][0]["edited"], values["items"][1]["threshold"]) == (True, None)


def _with_chunk(content: bytes, kind: bytes) -> bytes:
    """A PNG with an empty chunk behind its pixels."""
    return content[:-12] + b"\0\0\0\0" + kind + zlib.crc32(kind).to_bytes(4) + content[-12:]


BAD = {
    "a broken profile behind the pixels": (
        base64.b64encode(_with_chunk(base64.b64decode(mask_text(RING)), b"iCCP")).decode(),
        "not_a_mask",
    ),
    "no base64": ("!!", "not_a_mask"),
    "no PNG": ("aGVsbG8gd29ybGQ=", "not_a_mask"),
    "another size": (mask_text(RING[:-1]), "mask_size"),
    "turned": (mask_text(np.ascontiguousarray(RING.T)), "mask_size"),
    "colours": (mask_text(pixels()), "mask_colours"),
    "16 bit": (mask_text(RING.astype(np.uint16)), "mask_colours"),
}


@pytest.mark.parametrize("case", BAD)
def test_masks_that_are_none(case: str) -> None:
    text, code = BAD[case]
    answer = exported("masks", [ITEMS[0], {"prompt": "a", "mask": text}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert answer.json()["error"]["message"].startswith("items.1.mask: ")


@pytest.mark.parametrize("what", ["masks", "coco", "session", "overlay"])
def test_prompts_that_no_file_holds(what: str) -> None:
    for prompt in ("\ud800", "a\nb", "a\0b", "\u202e", "a" * 501):
        answer = exported(what, [ITEMS[0], {"prompt": prompt, "mask": mask_text(RING)}])
        assert answer.status_code == 422, prompt
        assert answer.json()["error"]["message"].startswith("items.1.prompt: ")
    assert exported(what, [{"prompt": "", "mask": mask_text(RING)}]).status_code == 200


def test_wrong_asks() -> None:
    for items, field in (([], "items"), ([{**ITEMS[0], "colour": "red"}], "items.0.colour"), ([{}], "items.0.prompt")):
        answer = exported("coco", items)
        assert answer.status_code == 422
        assert answer.json()["error"]["message"].startswith(field)
    assert exported("everything").status_code == 422
