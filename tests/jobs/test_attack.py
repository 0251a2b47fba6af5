"""`vlseg attack`: rows under attack, what they claim, and what is written."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacked_models import Toy, disc_runs
from PIL import Image

import vlseg
from vlseg.attacks import Attack, Budget, Goal, Search
from vlseg.jobs import attack as attack_job
from vlseg.jobs import attack_parts, attack_published
from vlseg.jobs.attack import AttackedRun, attack_on
from vlseg.jobs.attack_files import after_file
from vlseg.jobs.attack_plan import AttackOptions, number, planned, published
from vlseg.jobs.attack_published import deviation
from vlseg.jobs.attack_summary import summary
from vlseg.jobs.scoring import EvaluateOptions
from vlseg.jobs.train import train_run
from vlseg.metrics import dice_score
from vlseg.models import build_model
from vlseg.records import InputError, RunConfig, SampleScore, read_scores

Vlseg = Callable[..., Any]
OPTIONS = EvaluateOptions(device="cpu", threads=1, pictures=False)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory, disc_writer: Callable[..., Path]) -> Path:
    """data/ and two runs on it that have learned something."""
    return disc_runs(tmp_path_factory.mktemp("discs"), disc_writer, "p1")


@pytest.fixture
def root(discs: Path, tmp_path: Path) -> Path:
    """A copy without evaluations, to write into."""
    shutil.copytree(discs, tmp_path / "own", ignore=shutil.ignore_patterns("evaluations", "checkpoints"))
    return tmp_path / "own"


def attacked(root: Path, *names: str, onto: tuple[str, ...] = (), **asked: Any) -> list[AttackedRun]:
    """The runs, attacked."""
    options = replace(OPTIONS, **asked.pop("options", {}))
    runs = [str(root / name) for name in names or ("run",)]
    others = [str(root / name) for name in onto]
    return attack_on(runs, [str(root / "data")], options, AttackOptions(**asked), onto=others)


def rows_of(one: AttackedRun, method: str | None = None) -> list[SampleScore]:
    """Its rows as they are, or under the attacks of a method."""
    scores = one.evaluated.scores
    if method is None:
        return [row for row in scores if row.condition == "clean"]
    told = [json.loads(row.condition_arguments) for row in scores]
    return [row for row, given in zip(scores, told, strict=True) if given.get("search", {}).get("method", "") == method]


def as_clean(row: SampleScore) -> SampleScore:
    """The row as it would be if nothing had been done."""
    return replace(row, condition="clean", condition_arguments="{}", overlap=None, own_dice=None)


@pytest.mark.parametrize("place", ["input", "native"])
@pytest.mark.parametrize("method", ["pgd", "fgsm", "universal"])
def test_epsilon_0_is_the_image_as_it_is_to_the_last_digit(root: Path, method: Any, place: Any) -> None:
    steps = None if method == "fgsm" else 2
    (one,) = attacked(root, method=method, place=place, epsilons=("0",), steps=steps, limit=4)
    clean = rows_of(one)
    assert len(clean) == 4
    assert [as_clean(row) for row in rows_of(one, method)] == clean
    assert [as_clean(row) for row in rows_of(one, "noise")] == clean
    assert {row.overlap for row in rows_of(one, method)} == {1.0}


def test_pgd_harms_more_than_fgsm_and_far_more_than_noise_and_more_with_more(root: Path) -> None:
    (pgd,) = attacked(root, method="pgd", epsilons=("8/255", "16/255"), steps=5)
    (fgsm,) = attacked(root, method="fgsm", epsilons=("16/255",))
    small, large = summary([pgd])["results"]
    (quick,) = summary([fgsm])["results"]
    clean = summary([pgd])["clean_dice"]
    assert clean > 0.85
    assert large["robust_dice"] < small["robust_dice"] < clean
    assert large["robust_dice"] <= quick["robust_dice"] + 1e-9
    assert clean - large["noise_dice"] < 0.5 * (clean - large["robust_dice"])
    assert summary([pgd])["monotone"]
    assert all(
        row.dice <= own.dice + 1e-9  # type: ignore[operator]
        for row, own in zip(rows_of(pgd, "pgd")[1::2], rows_of(pgd), strict=True)
    ), "with keep='worst' no sample is better off"


def test_the_numbers_are_means_of_the_rows_and_paired_with_the_clean_ones(root: Path) -> None:
    (one,) = attacked(root, method="pgd", epsilons=("16/255",), steps=2)
    values = summary([one])
    rows, clean = rows_of(one, "pgd"), rows_of(one)
    assert values["results"][0]["robust_dice"] == pytest.approx(np.mean([row.dice for row in rows]))
    assert values["clean_dice"] == pytest.approx(np.mean([row.dice for row in clean]))
    drops = [row.dice - own.dice for row, own in zip(rows, clean, strict=True)]  # type: ignore[operator]
    assert values["results"][0]["drop"]["difference"] == pytest.approx(np.mean(drops))
    assert values["results"][0]["presence"] == pytest.approx(np.mean([row.presence_score for row in rows]))
    assert [(row.sample_id, row.wording, row.threshold) for row in rows] == [
        (row.sample_id, row.wording, row.threshold) for row in clean
    ]


def test_the_json_line_and_what_lies_on_disk(root: Path, vlseg: Vlseg) -> None:
    """Of patients there is nothing but numbers."""
    said = vlseg(
        "attack", root / "run", "--data", root / "data", "--method", "fgsm", "--epsilon", "2/255", "--epsilon", "0.03",
        "--device", "cpu", "--threads", 1, "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert (said.json["command"], said.json["method"]) == ("attack", "fgsm")
    assert [one["epsilon"] for one in said.json["results"]] == [2 / 255, 0.03]
    assert {"epsilon", "robust_dice", "ci95", "reason"} <= said.json["results"][0].keys()
    folder = Path(said.json["scores"]).parent
    assert folder == root / "run" / "evaluations" / "data-test-p1-attack-fgsm"
    assert sorted(file.name for file in folder.rglob("*")) == ["calibration.json", "scores.parquet", "spec.json"]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name], "no partial rows are left"


def test_pictures_are_kept_where_they_are_asked_for(root: Path) -> None:
    (one,) = attacked(root, method="fgsm", epsilons=("2/255",), limit=2, options={"pictures": True})
    names = {file.name for file in one.evaluated.folder.rglob("*.parquet")}
    assert names >= {"images.parquet", "outlines.parquet"}


def test_an_attack_is_done_again_from_the_name_in_its_record(root: Path, vlseg: Vlseg, tmp_path: Path) -> None:
    common = ("attack", root / "run", "--data", root / "data", "--device", "cpu", "--threads", 1, "--limit", 3)
    first = vlseg(
        *common, "--epsilon", "8/255", "--steps", 2, "--restarts", 2, "--norm", "linf", "--loss", "ce", "--json"
    )
    (row,) = first.json["results"]
    told = json.loads(read_scores(Path(first.json["scores"]))[1].condition_arguments)
    for name, text in (("repr", row["attack"]), ("json", json.dumps(told))):
        again = vlseg(*common, "--attack", text, "--out", tmp_path / name, "--json")
        assert again.code == 0, again.err
        assert read_scores(tmp_path / name / "scores.parquet") == read_scores(Path(first.json["scores"]))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--epsilon", "2/0"), "--epsilon: '2/0' is no number of at least 0; give one such as 2/255 or 0.01"),
        (("--epsilon", "two"), "--epsilon: 'two' is no number"),
        (("--epsilon", "-1/255"), "--epsilon: '-1/255' is no number of at least 0"),
        (("--epsilon", "nan"), "--epsilon: 'nan' is no number of at least 0"),
        (("--epsilon", "8"), "for grey levels of 8 bits write 8/255"),
        (("--norm", "l2"), "--epsilon: with --norm l2 it depends on the image's size; give one"),
        (("--method", "fgsm", "--steps", "3"), "steps: fgsm takes one step, not 3; take pgd for more"),
        (("--step-size", "x"), "--step-size: 'x' is no number"),
        (("--attack", "Attack()", "--epsilon", "1/255"), "--epsilon: --attack says everything by itself; leave it out"),
        (("--attack", "nonsense("), "attack: 'nonsense(' is no attack"),
        (("--goal", "make"), "--goal make: data has no sample in 'test' for it"),
        (("--preset", "published", "--norm", "l2"), "--norm: is set by --preset published; leave it out"),
        (("--preset", "published", "--method", "apgd"), "unknown method of --preset published 'apgd'"),
        (("--preset", "published", "--onto", "other"), "--preset: is for one model"),
        (("--split", "nowhere"), "--split: data has no samples in 'nowhere'"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    discs: Path, vlseg: Vlseg, arguments: tuple[str, ...], line: str
) -> None:
    said = vlseg("attack", discs / "run", "--data", discs / "data", "--device", "cpu", "--threads", 1, *arguments)
    assert said.code == 2
    assert line in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (discs / "run" / "evaluations").exists()


def test_a_model_is_given_once_and_one_folder_is_of_one_model(discs: Path, vlseg: Vlseg, tmp_path: Path) -> None:
    run, data = discs / "run", discs / "data"
    assert "is given twice" in vlseg("attack", run, run, "--data", data).err
    said = vlseg("attack", run, discs / "other", "--data", data, "--out", tmp_path / "x")
    assert "--out: is the folder of one evaluation; leave it out with several models" in said.err


def test_an_attack_that_was_cut_off_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_parts, "SAMPLES_AT_ONCE", 1)
    asked: dict[str, Any] = {"method": "fgsm", "epsilons": ("8/255",)}
    (whole,) = attacked(root, **asked)
    shutil.rmtree(whole.evaluated.folder)
    calls, real = [], attack_job.found_by

    def stopped(*given: Any, **more: Any) -> Any:
        calls.append(given[0])
        if len(calls) == 5:  # two attacks an image: in the third one
            raise KeyboardInterrupt
        return real(*given, **more)

    monkeypatch.setattr(attack_job, "found_by", stopped)
    with pytest.raises(KeyboardInterrupt):
        attacked(root, **asked)
    assert not whole.evaluated.folder.exists(), "half an evaluation is none"
    (again,) = attacked(root, **asked)
    assert len(calls) == 5 + 2 * 2, "of four images the two that were done are not attacked again"
    assert again.evaluated.scores == whole.evaluated.scores


def test_changes_are_laid_over_the_images_for_other_models(root: Path) -> None:
    matrix = attacked(root, "run", "other", epsilons=("16/255",), steps=3, limit=4)
    assert [(one.found_on, one.evaluated.spec.run_id) for one in matrix] == [
        ("run", "run"),
        ("run", "other"),
        ("other", "other"),
        ("other", "run"),
    ]
    (alone,) = attacked(root, "other", epsilons=("16/255",), steps=3, limit=4)
    assert alone.evaluated.scores == matrix[2].evaluated.scores
    (_, laid) = attacked(root, "run", onto=("other",), epsilons=("16/255",), steps=3, limit=4)
    assert laid.evaluated.scores == matrix[1].evaluated.scores
    rows = rows_of(matrix[1], "pgd")
    assert {json.loads(row.condition_arguments)["found_on"] for row in rows} == {"run"}
    assert {row.run_id for row in matrix[1].evaluated.scores} == {"other"}
    assert matrix[1].evaluated.folder.parent == root / "other" / "evaluations"
    white, transferred = (np.mean([row.dice for row in rows_of(matrix[i], "pgd")]) for i in (2, 1))
    assert white < transferred, "what was found on the model itself harms it more"
    assert len(summary(matrix)["matrix"]) == 4


def test_a_vote_is_attacked_on_the_mean_of_its_members(root: Path) -> None:
    """Epsilon 0 leaves the vote's own answer; a larger one is found where a gradient passes."""
    members = [str(root / "run"), str(root / "other")]
    build_model("ensemble", arguments={"members": members, "combine": "majority"}).save(root / "vote")
    options, asked = replace(OPTIONS, prompt="p1"), AttackOptions(epsilons=("0", "16/255"), steps=3, limit=4)
    (one,) = attack_on([str(root / "vote")], [str(root / "data")], options, asked, out=root / "scores")
    clean, rows = rows_of(one), rows_of(one, "pgd")
    assert {json.loads(row.condition_arguments)["found_on"] for row in rows} == {"the mean of its members"}
    assert [as_clean(row) for row in rows[::2]] == clean
    assert np.mean([row.dice for row in rows[1::2]]) < np.mean([row.dice for row in clean]) - 0.02


def test_moving_is_held_against_both_masks(root: Path) -> None:
    (one,) = attacked(root, goal="move", epsilons=("16/255",), steps=2, limit=2)
    rows = rows_of(one, "pgd")
    against = [json.loads(row.condition_arguments)["against"] for row in rows]
    assert against == ["original", "wanted"] * 2
    clean = {row.sample_id: row for row in rows_of(attacked(root, method="fgsm", epsilons=("0",))[0])}
    partner = {f"{name}_{word}.png": f"{name}_{other}.png" for name in ("test0", "test1", "test2", "test3")
               for word, other in (("bright", "dark"), ("dark", "bright"))}  # fmt: skip
    for own, wanted in zip(rows[::2], rows[1::2], strict=True):
        assert own.area - (own.area_error or 0) == clean[own.sample_id].area - (clean[own.sample_id].area_error or 0)
        assert own.area == wanted.area, "one answer"
        other = Path(clean[own.sample_id].sample_id).name
        truth = np.asarray(Image.open(root / "data" / "masks" / partner[other])) > 0
        assert wanted.area - (wanted.area_error or 0) == truth.sum()
    assert summary([one])["results"][0]["wanted_dice"] == pytest.approx(np.mean([row.dice for row in rows[1::2]]))


def test_a_universal_change_is_found_on_other_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = attack_job.universal_change

    def noted(attack: Attack, target: Any, some: Any) -> Any:
        seen.append((some, real(attack, target, some)))
        return seen[-1][1]

    monkeypatch.setattr(attack_job, "universal_change", noted)
    (one,) = attacked(root, method="universal", epsilons=("16/255",), steps=2)
    assert {item.sample.split for item in seen[0][0].items} == {"train"}
    assert np.mean([row.dice for row in rows_of(one, "universal")]) < np.mean([row.dice for row in rows_of(one)]) - 0.02


def test_rounding_to_8_bits_undoes_less_than_half_a_level(root: Path) -> None:
    (rounded,) = attacked(root, method="fgsm", epsilons=("0.45/255",), round_trip="8bit")
    assert [row.dice for row in rows_of(rounded, "fgsm")] == pytest.approx([row.dice for row in rows_of(rounded)])
    assert json.loads(rows_of(rounded, "fgsm")[0].condition_arguments)["round_trip"] == "8bit"
    (kept,) = attacked(root, method="fgsm", epsilons=("16/255",), round_trip="8bit")
    (plain,) = attacked(root, method="fgsm", epsilons=("16/255",))
    assert kept.evaluated.folder != plain.evaluated.folder
    assert [row.dice for row in rows_of(kept, "fgsm")] == pytest.approx(
        [row.dice for row in rows_of(plain, "fgsm")], abs=0.03
    ), "a large change survives"


def test_more_than_half_a_level_is_rounded_up_to_a_whole_one() -> None:
    """0.01 of CLIPSeg's normalised input is 0.6 of a grey level."""
    image = torch.randint(1, 254, (3, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    change = (2.0 * torch.randint(0, 2, (3, 8, 8), generator=torch.Generator().manual_seed(1)) - 1) * 0.01 * 0.226
    assert torch.equal(((after_file(image + change, "8bit") - image) * 255).round(), change.sign())


def test_files_are_those_that_pillow_writes(tmp_path: Path) -> None:
    image = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0))
    levels = np.round(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    for kind, name in (("8bit", "a.png"), ("jpeg", "a.jpg")):
        Image.fromarray(levels).save(tmp_path / name)
        read = np.asarray(Image.open(tmp_path / name).convert("RGB"), dtype=np.float32) / 255
        assert np.array_equal(after_file(image, kind).permute(1, 2, 0).numpy(), read)  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "epsilon", "steps"), [("fgsm", 0.1, [0.1]), ("pgd", 0.03, [2 / 255] * 40)])
def test_the_published_attack_is_what_its_code_did(root: Path, method: Any, epsilon: float, steps: list[float]) -> None:
    """Done again without vlseg.attacks: normalised units, their loss, a file, the image's last target for all."""
    (one,) = attacked(root, preset="published", method=method, epsilons=(str(epsilon),))
    rows = [row for row in rows_of(one, method) if json.loads(row.condition_arguments).get("published")]
    model = vlseg.load(str(root / "run"), device="cpu").model
    mean, std = (torch.tensor(one)[:, None, None] for one in ((0.5,) * 3, (0.25,) * 3))  # clipseg-tiny's
    for name in ("test0", "test3"):
        pixels = np.asarray(Image.open(root / "data" / "images" / f"{name}.png").convert("RGB"), dtype=np.float32) / 255
        masks = [np.asarray(Image.open(root / "data" / "masks" / f"{name}_{w}.png")) > 0 for w in ("bright", "dark")]
        clean = model.prepare([torch.from_numpy(pixels.transpose(2, 0, 1).copy())])
        start = clean.tensors["pixel_values"]
        changed, truth = start.clone(), torch.from_numpy(masks[1])[None, None].float()
        tokens = model.tokenize(["dark disc"])
        for step in steps:
            normalised = changed.detach().requires_grad_()
            features = model.encode_image(replace(clean, tensors={**clean.tensors, "pixel_values": normalised}))
            found = model.decode(features, model.encode_prompts(tokens)).logits.sigmoid()
            dice = 1 - (2 * (found * truth).sum() + 1e-5) / (found.sum() + truth.sum() + 1e-5)
            loss = 1.5 * dice + torch.nn.functional.binary_cross_entropy_with_logits(found, truth)
            (gradient,) = torch.autograd.grad(loss, normalised)
            changed = torch.maximum(torch.minimum(changed + step * gradient.sign(), start + epsilon), start - epsilon)
        moved = changed[0] * std + mean
        file = io.BytesIO()
        levels = (moved.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(levels).save(file, format="PNG")
        read = np.asarray(Image.open(file), dtype=np.float32) / 255
        predictor = vlseg.load(str(root / "run"), device="cpu")
        for word, mask in zip(("bright disc", "dark disc"), masks, strict=True):
            (own,) = (row for row in rows if name in row.image_id and row.target == word)
            answer = predictor.segment(read, [word])[0].mask
            assert own.dice == pytest.approx(dice_score(answer, mask), abs=0.01)


def test_published_rows_are_scored_with_another_drawn_wording_and_honest_ones_with_the_first(root: Path) -> None:
    (one,) = attacked(root, preset="published", method="fgsm", epsilons=("0.03",), options={"prompt": "p2"})
    rows = rows_of(one, "fgsm")
    drawn = [row.wording for row in rows if json.loads(row.condition_arguments).get("published")]
    honest = [row.wording for row in rows if not json.loads(row.condition_arguments).get("published")]
    assert set(drawn) == {"bright disc", "a bright round disc", "dark disc", "a dark round disc"}
    assert honest == [row.wording for row in rows_of(one)]
    assert set(honest) == {"bright disc", "dark disc"}


def test_published_files_are_of_the_kind_of_the_originals(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of JPEGs JPEGs, else of 8 bits without loss."""
    images, file = root / "data" / "images", root / "data" / "anns" / "test.json"
    Image.open(images / "test1.png").save(images / "test1.jpg")
    file.write_text(file.read_text().replace('"test1.png"', '"test1.jpg"'))
    kinds: list[str] = []
    real = attack_published.after_file

    def noted(image: torch.Tensor, kind: Any) -> torch.Tensor:
        kinds.append(kind)
        return real(image, kind)

    monkeypatch.setattr(attack_published, "after_file", noted)
    attacked(root, preset="published", method="fgsm", epsilons=("0.03",))
    assert sorted(kinds) == ["8bit", "8bit", "8bit", "jpeg"], "an image is attacked once, whatever its targets"


def test_an_image_only_model_is_attacked_by_target_and_its_changes_fit_others(root: Path) -> None:
    config = RunConfig(
        model="unet",
        model_arguments={"image_size": 32},
        data=[str(root / "data")],
        prompt="p1",
        threads=1,
        device="cpu",
        batch_size=6,
        max_steps=10,
    )
    train_run(config, root / "unet")
    found, laid = attacked(root, "unet", onto=("run",), epsilons=("0", "16/255"), steps=2, limit=2)
    assert [as_clean(row) for row in rows_of(found, "pgd")[::2]] == rows_of(found)
    assert [as_clean(row) for row in rows_of(laid, "pgd")[::2]] == rows_of(laid), "no change harms no other model"
    assert {row.run_id for row in laid.evaluated.scores} == {"run"}


def test_two_datasets_with_samples_of_one_name_are_kept_apart(root: Path, disc_writer: Callable[..., Path]) -> None:
    second = disc_writer(root / "more", (1, 1, 4), 48)
    options, asked = replace(OPTIONS, prompt="p1"), AttackOptions(method="fgsm", epsilons=("8/255",))
    data = [str(root / "data"), str(second)]
    (both,) = attack_on([str(root / "run")], data, options, asked)
    for name in data:
        (alone,) = attack_on([str(root / "run")], [name], options, asked)
        own = [row for row in both.evaluated.scores if row.dataset == Path(name).name]
        assert [replace(row, brier=None) for row in own] == [replace(row, brier=None) for row in alone.evaluated.scores]


def test_a_normalised_unit_is_the_mean_deviation_of_the_channels() -> None:
    assert deviation(Toy((4, 4), lambda pixels: pixels[:, :1])) == pytest.approx((0.25 + 0.5 + 0.2) / 3, abs=1e-5)


def test_the_preset_has_the_honest_attack_of_each_budget_beside_it() -> None:
    plans = published(AttackOptions(preset="published"), 0.226)
    assert len(plans) == 16
    epsilons = [one.published[1] for one in plans if one.published]
    assert epsilons == [0.01, 0.03, 0.1, 0.5] * 2
    honest = [one.attack for one in plans if one.attack]
    assert [one.budget.epsilon for one in honest] == pytest.approx([0.226 * one for one in epsilons])
    assert {one.search.steps for one in honest} == {1, 40}
    assert all(one.arguments().get("published") for one in plans if one.published)
    assert all("round_trip" not in one.arguments() for one in plans if one.attack)


def test_noise_beside_an_attack_has_its_budget_and_looks_at_as_many_images() -> None:
    attack, noise = planned(AttackOptions(method="apgd", epsilons=("4/255",), steps=7, restarts=2, seed=3))
    assert attack.attack == Attack(Budget("linf", 4 / 255), Goal(), Search("apgd", steps=7, restarts=2, seed=3))
    assert noise.control
    assert noise.attack == Attack(Budget("linf", 4 / 255), Goal(), Search("noise", steps=7, restarts=2, seed=3))
    assert len(planned(AttackOptions(method="noise", epsilons=("4/255",)))) == 1


def test_each_search_has_its_own_noise_beside_it(root: Path) -> None:
    texts = [repr(Attack(Budget("linf", 16 / 255), Goal(), Search("pgd", steps=steps))) for steps in (1, 4)]
    (one,) = attacked(root, attacks=texts, limit=3)
    few, many = summary([one])["results"]
    noise: dict[int, list[float]] = {}
    for row in rows_of(one, "noise"):
        noise.setdefault(json.loads(row.condition_arguments)["search"]["steps"], []).append(row.dice or 0.0)
    assert (few["noise_dice"], many["noise_dice"]) == pytest.approx((np.mean(noise[1]), np.mean(noise[4])))


def test_ctrl_c_says_how_to_go_on(discs: Path, vlseg: Vlseg, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(attack_job, "found_by", stopped)
    said = vlseg("attack", discs / "run", "--data", discs / "data", "--device", "cpu", "--threads", 1)
    assert said.code == 130
    assert "the same command goes on where it was" in said.err


@pytest.mark.parametrize(("text", "value"), [("2/255", 2 / 255), ("0.01", 0.01), ("0", 0.0), ("0.5/255", 0.5 / 255)])
def test_numbers_and_fractions(text: str, value: float) -> None:
    assert number("epsilon", text) == value


def test_what_is_no_number_is_refused() -> None:
    for text in ("", "1/", "/255", "1/2/3", "inf"):
        with pytest.raises(InputError, match="is no number of at least 0"):
            number("epsilon", text)
