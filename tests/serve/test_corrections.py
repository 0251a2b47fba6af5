"""Corrected masks become a dataset that is checked and trained on as any other."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from served import SIZE, app_of, asking, mask_text, pixels, png, run, uploaded

from vlseg.data import read_dataset
from vlseg.jobs.lock import run_lock
from vlseg.records import InputError
from vlseg.serve.corrections import check_corrections

YY, XX = np.mgrid[: SIZE[0], : SIZE[1]]


def disc(radius: float) -> np.ndarray:
    return np.hypot(YY - 20, XX - 25) < radius


def corrected(folder: Path, asks: list[tuple[int, dict[str, Any]]]) -> list[httpx2.Response]:
    """The answers to asks about the image of a seed each."""

    async def work() -> list[httpx2.Response]:
        async with asking(app_of(corrections=folder)) as client:
            answers = []
            for seed, ask in asks:
                id = await uploaded(client, seed)
                body, headers = json.dumps({"image_id": id, **ask}), {"Content-Type": "application/json"}
                answers.append(await client.post("/v1/corrections", content=body, headers=headers))
            return answers

    answers: list[httpx2.Response] = run(work())
    return answers


def item(radius: float, prompt: str = "a small polyp", target: str = "polyp") -> dict[str, str]:
    return {"prompt": prompt, "target": target, "mask": mask_text(disc(radius))}


def test_what_is_kept_is_what_was_sent(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    folder = tmp_path / "new" / "corrections"
    (answer,) = corrected(folder, [(3, {"items": [item(9), item(0, target="cyst / ü")], "patient": "p-1"})])
    assert (answer.status_code, answer.json()["dataset"]) == (201, str(folder))
    dataset = read_dataset(folder)
    assert [sample.id for sample in dataset.samples] == answer.json()["sample_ids"]
    assert [(sample.target, sample.group) for sample in dataset.samples] == [("polyp", "p-1"), ("cyst / ü", "p-1")]
    first = dataset.samples[0]
    assert first.prompts == {"typed": ("a small polyp",)}
    assert dataset.info.prompt_sources == {"typed": {"user"}}
    assert np.array_equal(np.asarray(Image.open(first.image_path)), pixels(3))
    assert np.array_equal(np.asarray(Image.open(first.mask_paths[0])) > 127, disc(9))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_dir()} == {0o700}
    assert len(files) == 5
    checked = vlseg("data", "check", folder, "--json")
    assert (checked.code, checked.json["errors"]) == (0, 0)


def test_a_newer_mask_replaces_the_older_one(tmp_path: Path) -> None:
    asks = [(3, {"items": [item(9)]}), (3, {"items": [item(12)]}), (3, {"items": [item(5, prompt="another")]})]
    answers = corrected(tmp_path / "c", asks)
    first, second, third = (answer.json()["sample_ids"] for answer in answers)
    assert first == second != third
    dataset = read_dataset(tmp_path / "c")
    areas = {sample.id: (np.asarray(Image.open(sample.mask_paths[0])) > 0).sum() for sample in dataset.samples}
    assert areas == {first[0]: disc(12).sum(), third[0]: disc(5).sum()}
    assert len(list((tmp_path / "c" / "images").iterdir())) == 1


def test_a_patient_is_in_one_split_and_the_unknown_are_for_training(tmp_path: Path) -> None:
    asks = [(seed, {"items": [item(9)], "patient": f"p{seed // 2}"}) for seed in range(24)]
    asks += [(seed, {"items": [item(9)]}) for seed in range(24, 30)]
    assert {answer.status_code for answer in corrected(tmp_path / "c", asks)} == {201}
    dataset = read_dataset(tmp_path / "c")
    splits: dict[str | None, set[str]] = {}
    for sample in dataset.samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert all(len(found) == 1 for found in splits.values())
    assert splits[None] == {"train"}
    assert len(dataset.split("train")) + len(dataset.split("val")) == 30
    assert 2 <= len(dataset.split("val")) <= 4
    assert dataset.split("test") == ()
    assert not dataset.info.groups_known


def test_wrong_corrections_leave_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    wrong = [
        (1, {"items": [item(9), {**item(3), "mask": mask_text(disc(4)[:-1])}]}),
        (1, {"items": [item(9), item(5)]}),
        (1, {"items": [{**item(9), "target": ""}]}),
        (1, {"items": []}),
    ]
    assert [answer.status_code for answer in corrected(folder, wrong)] == [422] * 4
    assert not folder.exists()
    answers = corrected(folder, [(1, {"items": [item(9)], "patient": "a"}), (1, {"items": [item(9)], "patient": "b"})])
    assert [answer.status_code for answer in answers] == [201, 422]
    assert answers[1].json()["error"]["code"] == "other_patient"


UNWRITABLE = ("a\0b", "a\nb", "\u202ea", "a\ud800", "a\x1b[2J", " ", "x" * 501)


def test_texts_are_held_to_what_may_be_asked(tmp_path: Path) -> None:
    """They go into file names, JSON and tables of those who train on them."""
    fields: dict[str, Callable[[str], dict[str, Any]]] = {
        "items.1.prompt": lambda text: {"items": [item(9), item(3, prompt=text)]},
        "items.1.target": lambda text: {"items": [item(9), item(3, target=text)]},
        "patient": lambda text: {"items": [item(9)], "patient": text},
    }
    asks = [(field, (1, made(text))) for field, made in fields.items() for text in UNWRITABLE]
    answers = corrected(tmp_path / "c", [ask for _, ask in asks])
    for (field, _), answer in zip(asks, answers, strict=True):
        assert answer.status_code == 422
        assert answer.json()["error"]["message"].startswith(f"{field}: ")
        assert "what to segment" not in answer.text  # a patient is not asked for
    assert not (tmp_path / "c").exists()


def test_images_above_8_bit_keep_their_depth(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)

    async def work() -> int:
        async with asking(app_of(corrections=tmp_path / "c")) as client:
            sent = await client.post("/v1/images", files={"image": ("a.png", png(deep))})
            asked = {"image_id": sent.json()["id"], "items": [item(9)]}
            return (await client.post("/v1/corrections", json=asked)).status_code

    assert run(work()) == 201
    (kept,) = (tmp_path / "c" / "images").iterdir()
    assert np.array_equal(np.asarray(Image.open(kept)), deep)


def test_two_servers_do_not_write_at_once(tmp_path: Path) -> None:
    """What one has written the other one keeps; while one writes the other asks to come back."""
    corrected(tmp_path / "c", [(1, {"items": [item(9)]})])
    with run_lock(tmp_path / "c"):
        (refused,) = corrected(tmp_path / "c", [(2, {"items": [item(9)]})])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_written")
    assert "Retry-After" in refused.headers
    corrected(tmp_path / "c", [(2, {"items": [item(9)]})])
    assert len(read_dataset(tmp_path / "c").samples) == 2


def test_another_dataset_is_left_alone(tmp_path: Path, make_dataset: Callable[..., Path]) -> None:
    data = make_dataset()
    with pytest.raises(InputError, match="holds something else"):
        check_corrections(data)
    corrected(tmp_path / "c", [(1, {"items": [item(9)]})])
    check_corrections(tmp_path / "c")
    check_corrections(tmp_path / "none yet")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        check_corrections(tmp_path / "file")
    assert json.loads((tmp_path / "c" / "dataset.json").read_text())["prompt_sources"] == {"typed": ["user"]}


@pytest.mark.slow
def test_a_model_is_trained_on_corrections(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    asks = [(seed, {"items": [item(6 + seed % 5)], "patient": f"p{seed}"}) for seed in range(12)]
    corrected(tmp_path / "c", asks)
    done = vlseg("train", "--model", "clipseg-tiny", "--data", tmp_path / "c", "--out", tmp_path / "run", "--json",
                 "--set", "epochs=2", "--set", "model_arguments={image_size: 32}", "--threads", "1")  # fmt: skip
    assert (done.code, done.json["status"]) == (0, "done")
    named = vlseg("train", "--model", "clipseg-tiny", "--data", tmp_path / "c", "--out", tmp_path / "typed", "--json",
                  "--prompt", "typed", "--set", "epochs=1", "--set", "model_arguments={image_size: 32}")  # fmt: skip
    assert (named.code, named.json["status"]) == (0, "done")
