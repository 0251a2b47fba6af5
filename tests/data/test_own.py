"""Own folders: pairing, targets, readers, cases.csv, splits by group."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlseg.data import load_mask, read_dataset, reader_agreement, split_by_group, with_mask_max
from vlseg.data.prepare import prepare
from vlseg.data.readers import consensus
from vlseg.data.table import parse_table
from vlseg.metrics import dice_score
from vlseg.records import Attribute, InputError


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def disc(row: float, column: float, radius: float, side: int = 24) -> np.ndarray:
    yy, xx = np.mgrid[:side, :side]
    return (yy - row) ** 2 + (xx - column) ** 2 < radius**2


def own(root: Path, names: list[str], masks: tuple[str, ...] = ("",)) -> Path:
    for index, name in enumerate(names):
        rng = np.random.default_rng(index)
        write(root / "images" / f"{name}.png", rng.integers(0, 255, (24, 24), dtype=np.uint8))
        for number, folder in enumerate(masks):
            write(root / "masks" / folder / f"{name}.png", disc(8 + number, 9, 5).astype(np.uint8) * 255)
    return root


def test_masks_in_folders_of_targets(tmp_path: Path) -> None:
    root = own(tmp_path / "d", [f"a{n}" for n in range(10)], ("left_kidney", "liver"))
    dataset = read_dataset(root)
    assert {sample.target for sample in dataset.samples} == {"left kidney", "liver"}
    assert len(dataset.samples) == 20
    by_image: dict[str, set[str]] = {}
    for sample in dataset.samples:
        by_image.setdefault(sample.image_path.name, set()).add(sample.split)
    assert all(len(splits) == 1 for splits in by_image.values())


def test_a_target_beside_folders_of_targets_is_refused_and_missing_masks_are_told(tmp_path: Path) -> None:
    """The folders name the targets; a mask that is not there says nothing of its target."""
    root = own(tmp_path / "d", [f"a{n}" for n in range(10)], ("left_kidney", "liver"))
    with pytest.raises(InputError, match=r"--target: .* \(left kidney, liver\); leave the option out"):
        prepare(None, root, tmp_path / "out", target="liver")
    assert not (tmp_path / "out").exists()
    assert prepare(None, root, tmp_path / "whole").left_out == ()
    for name in ("a1", "a2", "a3"):
        (root / "masks" / "liver" / f"{name}.png").unlink()
    Image.new("L", (24, 24)).save(root / "masks" / "liver" / "a3.png")  # the mend: an empty mask is one
    done = prepare(None, root, tmp_path / "out")
    told = "2 of 20 pairs of an image and a target, which have no mask: where the target is absent, add an empty"
    assert [line.startswith(told) for line in done.left_out] == [True]
    assert sum(done.entries.values()) == 18


def test_masks_in_folders_of_readers_are_kept_apart(tmp_path: Path) -> None:
    from vlseg.prompts import annotate, select

    root = own(tmp_path / "d", [f"a{n}" for n in range(10)], ("reader1", "reader2"))
    dataset = annotate(read_dataset(root, target="nodule"))
    assert {sample.reader for sample in dataset.samples} == {"reader1", "reader2"}
    chosen = select(dataset, "class", "train")
    assert len(chosen) == 2 * len({sample.image_id for sample in dataset.split("train")})
    assert all(len(item.sample.mask_paths) == 1 for item in chosen)


def test_nested_folders_pair_by_their_path(tmp_path: Path) -> None:
    root = own(tmp_path / "d", ["site1/a", "site2/a", "site2/b"])
    dataset = read_dataset(root, target="polyp")
    assert sorted(s.image_path.relative_to(root / "images").as_posix() for s in dataset.samples) == [
        "site1/a.png",
        "site2/a.png",
        "site2/b.png",
    ]


TABLE = """file;patient;site;spacing;age:metadata;finding:label;prompt:user
a.png;P1;Ghent;0.2 0.1;61;scar;a bright spot|a spot
b;P1;Ghent;0.2;61;;a dark spot
c.png;P2;Oslo;0,5;40;scar;
"""


def test_table_gives_groups_sites_attributes_and_texts(tmp_path: Path) -> None:
    root = own(tmp_path / "d", ["a", "b", "c"])
    (root / "cases.csv").write_text(TABLE)
    samples = {s.image_path.stem: s for s in read_dataset(root, target="spot").samples}
    first = samples["a"]
    assert (first.group, first.site, first.spacing) == ("P1", "Ghent", (0.2, 0.1))
    assert samples["c"].spacing == (0.5, 0.5)
    assert Attribute("age", "61", "metadata") in first.attributes
    assert Attribute("finding", "scar", "label") in first.attributes
    assert first.prompts["text"] == ("a bright spot", "a spot")
    assert first.prompt_sources["text"] == {"user"}
    assert samples["a"].split == samples["b"].split


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,group\na,1\n", "no column 'file'"),
        ("file,group\na,1\na.png,2\nb,1\nc,1\n", "stands there twice"),
        ("file,group\na,1\nb,1\nc,1\nzz,1\n", "'zz' has no image"),
        ("file,group\na,1\nb,1\n", "no line for image 'c'"),
        ("file,group\na,1\nb,\nc,2\n", "column 'group' is empty for 'b'"),
        ("file,age:guess\na,1\nb,2\nc,3\n", "known: none, class"),
        ("file,spacing\na,0\nb,1\nc,1\n", "positive numbers"),
        ("file,split\na,dev\nb,test\nc,test\n", "known: train, val, test"),
        ("file,prompt\na,one, two\nb,x\nc,x\n", "more cells"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    root = own(tmp_path / "d", ["a", "b", "c"])
    (root / "cases.csv").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_dataset(root, target="spot")
    assert "cases.csv" in str(raised.value)
    assert not (root / "anns").exists()


def test_table_may_give_the_split(tmp_path: Path) -> None:
    root = own(tmp_path / "d", ["a", "b", "c"])
    (root / "cases.csv").write_text("file,split\na,test\nb,train\nc,val\n")
    assert {s.image_path.stem: s.split for s in read_dataset(root, target="x").samples} == {
        "a": "test",
        "b": "train",
        "c": "val",
    }


def test_table_in_a_foreign_encoding_is_named() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        parse_table("file,site\na,Malmö\n".encode("latin-1"), "cases.csv")


def test_prepare_own_with_another_table_and_names(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    for name in "abcdefghij":
        write(source / "scans" / f"{name}.png", np.full((24, 24), 90, np.uint8))
        write(source / "lesion masks" / f"{name}_mask.png", disc(9, 9, 4).astype(np.uint8))
    table = source / "t.csv"  # inside the source, under a name that would not be found
    table.write_text("file,group\n" + "".join(f"{name},{'PQ'[index % 2]}\n" for index, name in enumerate("abcdefghij")))
    done = prepare(None, source, tmp_path / "out", target="lesion", table=table)
    dataset = with_mask_max(read_dataset(tmp_path / "out"))
    assert done.images == 10
    assert done.left_out == ()
    assert dataset.info.groups_known
    assert {s.group: s.split for s in dataset.samples} == {s.group: s.split for s in dataset.samples}
    assert len({(s.group, s.split) for s in dataset.samples}) == 2
    np.testing.assert_array_equal(load_mask(dataset.samples[0], dataset.info, None), disc(9, 9, 4))


@pytest.mark.parametrize("how", ["majority", "staple"])
def test_prepare_own_makes_one_consensus(tmp_path: Path, how: str) -> None:
    source = own(tmp_path / "mine", [f"a{n}" for n in range(12)], ("reader1", "reader2", "reader3"))
    done = prepare(None, source, tmp_path / "out", target="nodule", readers=how)  # type: ignore[arg-type]
    dataset = with_mask_max(read_dataset(tmp_path / "out"))
    assert len(dataset.samples) == 12
    found = load_mask(dataset.samples[0], dataset.info, None)
    votes = sum(disc(8 + number, 9, 5).astype(int) for number in range(3))
    if how == "majority":
        np.testing.assert_array_equal(found, votes >= 2)
    assert dice_score(found, votes >= 2) > 0.9
    expected = dice_score(disc(8, 9, 5), disc(9, 9, 5))
    assert done.agreement["reader1 / reader2"].mean == pytest.approx(expected)
    assert (tmp_path / "out" / "masks" / "reader1" / "a0.png").exists()


def test_two_readers_must_agree_for_a_majority() -> None:
    one, two = disc(8, 8, 5), disc(10, 10, 5)
    np.testing.assert_array_equal(consensus([one, two], "majority"), one & two)


def test_staple_trusts_the_reliable_reader() -> None:
    """Two sloppy readers against one: STAPLE weighs them by how they agree, a majority does not."""
    truth = disc(12, 12, 6, 32)
    readers = [truth, disc(12, 12, 6.5, 32), disc(12, 12, 5.5, 32)]
    assert dice_score(consensus(readers, "staple"), truth) > 0.97


def test_agreement_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    cases = [{name: rng.random((9, 9)) > 0.5 for name in ("x", "y")} for _ in range(12)]
    estimate = reader_agreement(cases)[("x", "y")]
    overlap = [2 * (case["x"] & case["y"]).sum() / (case["x"].sum() + case["y"].sum()) for case in cases]
    assert estimate.mean == pytest.approx(np.mean(overlap))
    assert estimate.ci95 is not None


def test_agreement_counts_images_that_both_drew() -> None:
    mask = disc(8, 8, 4)
    found = reader_agreement([{"x": mask, "y": mask}, {"x": mask}, {"z": mask}])
    assert found.keys() == {("x", "y")}
    assert found[("x", "y")].n == 1


@pytest.mark.parametrize("size", [3, 10, 50, 333])
def test_split_sizes_and_order_independence(size: int) -> None:
    groups = [f"g{n}" for n in range(size)]
    splits = split_by_group(groups, 0)
    counts = {split: splits.count(split) for split in ("train", "val", "test")}
    assert all(counts.values())
    if size >= 10:
        assert abs(counts["train"] - 0.8 * size) <= 1
        assert abs(counts["val"] - 0.1 * size) <= 1
    shuffled = sorted(groups, key=lambda g: hash((g, 1)))
    again = dict(zip(shuffled, split_by_group(shuffled, 0), strict=True))
    assert [again[g] for g in groups] == splits
    assert size < 10 or split_by_group(groups, 1) != splits


def test_split_keeps_groups_of_unequal_size_together() -> None:
    rng = np.random.default_rng(3)
    groups = [f"g{n}" for n in rng.zipf(1.5, 500) % 40]
    splits = split_by_group(groups, 5)
    assert len({(g, s) for g, s in zip(groups, splits, strict=True)}) == len(set(groups))
    largest = max(groups.count(g) for g in set(groups))
    assert abs(splits.count("train") - 400) <= max(largest, 5)
