"""`vlseg attack --words`: what its rows claim, held against the library and against models whose answers are known."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacked_models import disc_runs
from PIL import Image
from reading_models import Adding

import vlseg as library
from vlseg.attacks import Lexicon, TextAttack, TextBudget, TextSearch, run_text_attack, vocabulary_of
from vlseg.attacks.text_words import wording_of
from vlseg.evaluation.predictor import Predictor
from vlseg.jobs import attack_parts, attack_words, scoring
from vlseg.jobs.attack import attack_on
from vlseg.jobs.attack_asked import attacks_of
from vlseg.jobs.attack_plan import AttackOptions
from vlseg.jobs.attack_summary import study_values, summary
from vlseg.metrics import dice_score
from vlseg.models import Output, Rows, as_module, build_model
from vlseg.prompts import known_words, synonyms
from vlseg.records import EvaluationSpec, InputError, SampleScore, read_scores
from vlseg.reports.tables.values import read

Vlseg = Callable[..., Any]
COMMON = ("--device", "cpu", "--threads", 1)
SENTENCES = ("bright disc", "a bright round disc", "dark disc", "a dark round disc")
"""Of the discs' prompt p2; the first wording of each target is attacked."""


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory, disc_writer: Callable[..., Path]) -> Path:
    """data/ and two runs on it that have learned something."""
    return disc_runs(tmp_path_factory.mktemp("discs"), disc_writer, "p2")


@pytest.fixture
def root(discs: Path, tmp_path: Path) -> Path:
    """A copy without evaluations, to write into."""
    shutil.copytree(discs, tmp_path / "own", ignore=shutil.ignore_patterns("evaluations", "checkpoints"))
    return tmp_path / "own"


@pytest.fixture
def attack(vlseg: Vlseg, root: Path) -> Callable[..., dict[str, Any]]:
    """`vlseg attack` of runs by name, as its JSON."""

    def run(*arguments: object, runs: Sequence[str] = ("run",)) -> dict[str, Any]:
        said = vlseg("attack", *(root / name for name in runs), "--data", root / "data", *COMMON, *arguments, "--json")
        assert said.code == 0, said.err
        values: dict[str, Any] = said.json
        return values

    return run


def rows_at(values: dict[str, Any]) -> list[SampleScore]:
    return read_scores(Path(values["scores"]))


def clean_rows(rows: Sequence[SampleScore]) -> list[SampleScore]:
    return [row for row in rows if row.condition == "clean"]


def under(rows: Sequence[SampleScore], method: str, **budget: Any) -> list[SampleScore]:
    """The rows of an attack."""
    found = []
    for row in rows:
        told = json.loads(row.condition_arguments)
        wanted = row.condition == "attack" and told["search"]["method"] == method
        if wanted and all(told["budget"][name] == value for name, value in budget.items()):
            found.append(row)
    return found


def lexicon() -> Lexicon:
    vocabulary = vocabulary_of(SENTENCES)
    return Lexicon(vocabulary, {word: synonyms(word) for word in vocabulary if synonyms(word)}, known_words())


def test_rows_are_what_the_library_finds_and_the_json_is_their_mean(
    attack: Callable[..., dict[str, Any]], root: Path
) -> None:
    kinds = {"typos": ("typos", None), "vocabulary": ("words", "vocabulary"), "suffix": ("suffix", None)}
    asked = [word for kind in kinds for word in ("--words", kind)]
    values = attack(*asked, "--size", 1, "--size", 2, "--candidates", 5)
    rows = rows_at(values)
    predictor = library.load(str(root / "run"), device="cpu")
    images, masks, own = [], [], clean_rows(rows)
    for row in own:
        pixels = (
            np.asarray(Image.open(root / "data" / "images" / Path(row.image_id).name).convert("RGB"), dtype=np.float32)
            / 255
        )
        images.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
        masks.append(torch.from_numpy(np.asarray(Image.open(root / "data" / "masks" / Path(row.sample_id).name)) > 0))
    assert len(own) == 8
    for (unit, source), size in product(kinds.values(), (1, 2)):
        budget = TextBudget(unit, size, source)  # type: ignore[arg-type]
        plan = TextAttack(budget, search=TextSearch("greedy", candidates=5))
        done = run_text_attack(
            plan,
            predictor.model,
            images,
            [row.wording for row in own],
            masks,
            lexicon=lexicon(),
            threshold=predictor.threshold,
        )
        found = under(rows, "greedy", unit=unit, size=size, source=plan.budget.source)
        assert [row.wording for row in found] == done.sentences
        assert [row.dice for row in found] == pytest.approx(done.dice.tolist())
        assert {row.condition_arguments for row in found} == {
            json.dumps({**asdict(plan), "words": True}, sort_keys=True)
        }
        for row, mask in zip(found, masks, strict=True):  # by nothing but the model's own answer
            answer = predictor.segment(root / "data" / "images" / Path(row.image_id).name, [row.wording])[0]
            assert row.dice == pytest.approx(dice_score(answer.mask, mask.numpy()))
        (told,) = [one for one in values["results"] if one["attack"] == repr(plan)]
        assert told["robust_dice"] == pytest.approx(np.mean([row.dice for row in found]))
        assert told["clean_dice"] == pytest.approx(np.mean([row.dice for row in own]))
        drops = [row.dice - before.dice for row, before in zip(found, own, strict=True)]  # type: ignore[operator]
        assert told["drop"]["difference"] == pytest.approx(np.mean(drops))
        control = under(rows, "random", unit=unit, size=size)
        assert told["random_dice"] == pytest.approx(np.mean([row.dice for row in control]))
        assert told["queries"] == pytest.approx(float(done.queries.double().mean()))
        assert told["keeps_meaning"] is (unit == "typos")
        assert ("meaning not kept" in told["changes"]) is (unit != "typos")
        assert (told["n"], told["left_out"]) == (8, 0)
    assert values["lexicon"]["words"] == len(vocabulary_of(SENTENCES))
    assert values["results"][0]["robust_dice"] < values["clean_dice"] - 0.3, "unknown words, to a model of hashed ones"


def test_what_stands_in_the_record_and_that_nothing_else_is_left(
    attack: Callable[..., dict[str, Any]], root: Path
) -> None:
    values = attack("--words", "typos", "--size", 1, "--candidates", 3)
    folder = Path(values["scores"]).parent
    assert folder == root / "run" / "evaluations" / "data-test-p2-attack-words-typos"
    assert sorted(file.name for file in folder.rglob("*")) == ["calibration.json", "scores.parquet", "spec.json"]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    spec = EvaluationSpec.read(folder / "spec.json")
    assert spec.condition == "attack"
    assert spec.condition_arguments["lexicon"] == values["lexicon"]
    assert [one["search"]["method"] for one in spec.condition_arguments["attacks"]] == ["greedy", "random"]
    assert {len(row.wording.split()) for row in rows_at(values)} == {2}
    for row in under(rows_at(values), "greedy"):
        assert row.wording.split()[0][0] in "bd", "typos leave the first letter"
        assert not set(row.wording.split()) & (set(known_words()) - {"bright", "dark", "disc"})


def test_a_sentence_that_is_not_changed_has_the_clean_row(attack: Callable[..., dict[str, Any]]) -> None:
    """Two swaps of two words give the sentence back; the control beside stands for all samples all the same."""
    values = attack("--words", "order", "--size", 2)
    rows = rows_at(values)
    plain = [replace(one, overlap=None, own_dice=None) for one in clean_rows(rows)]
    control = under(rows, "random")
    assert [
        replace(one, condition="clean", condition_arguments="{}", overlap=None, own_dice=None) for one in control
    ] == plain
    assert {row.overlap for row in control} == {1.0}
    assert values["results"][0]["random_dice"] == values["clean_dice"]
    assert values["results"][0]["random_queries"] == 0
    assert values["results"][0]["queries"] == 1


def test_samples_whose_sentence_has_nothing_to_change_do_not_count(
    attack: Callable[..., dict[str, Any]], root: Path
) -> None:
    """Dark discs are called "dim spots" first, of which no synonym is known; bright ones "bright round"."""
    file = root / "data" / "anns" / "test.json"
    entries = json.loads(file.read_text())
    for entry in entries:
        entry["prompts"]["p2"] = ["bright round disc" if "bright" in entry["target"] else "dim spot"]
    file.write_text(json.dumps(entries))
    values = attack("--words", "synonyms", "--words", "typos", "--size", 1)
    same, typos = values["results"]
    rows = under(rows_at(values), "greedy", source="synonyms")
    assert {row.target for row in rows} == {"bright disc"}
    assert (same["n"], same["left_out"], typos["n"], typos["left_out"]) == (4, 4, 8, 0)
    bright = [row.dice for row in clean_rows(rows_at(values)) if row.target == "bright disc"]
    assert same["clean_dice"] == pytest.approx(np.mean(bright))
    assert same["robust_dice"] == pytest.approx(np.mean([row.dice for row in rows]))
    assert len(under(rows_at(values), "random", source="synonyms")) == 4
    assert {row.wording.split()[1] for row in rows} <= {"round", *synonyms("round")}


def test_where_no_sentence_can_be_changed_the_row_says_so(
    attack: Callable[..., dict[str, Any]], vlseg: Vlseg, root: Path
) -> None:
    """The vocabulary has a word with synonyms ("round"), but no first wording has."""
    values = attack("--words", "synonyms", "--size", 1)
    (row,) = values["results"]
    assert (row["n"], row["robust_dice"], row["left_out"]) == (0, None, 8)
    assert row["reason"] == "no sample had anything to change"
    assert values["clean_dice"] > 0.8
    said = vlseg("attack", root / "run", "--data", root / "data", *COMMON, "--words", "synonyms", "--size", 1)
    assert "8 samples have nothing to change" in said.out
    assert "no sample had anything to change" in said.out


def test_a_row_is_done_again_from_its_name(attack: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    options = ("--method", "gradient", "--candidates", 3, "--steps", 2, "--seed", 5, "--limit", 5)
    first = attack("--words", "suffix", "--size", 1, "--loss", "ce", *options)
    (row,) = first["results"]
    told = json.loads(under(rows_at(first), "gradient")[0].condition_arguments)
    parts = {name: told[name] for name in ("budget", "goal", "search")}
    for name, text in (("repr", row["attack"]), ("json", json.dumps(told)), ("parts", json.dumps(parts))):
        again = attack("--attack", text, "--limit", 5, "--seed", 5, "--out", tmp_path / name)
        assert rows_at(again) == rows_at(first)
        assert again["lexicon"] == first["lexicon"]
    other = attack("--words", "suffix", "--size", 1, *options[:-4], "--seed", 6, "--limit", 5)
    assert other["results"][0]["attack"] != row["attack"]


def test_an_attack_that_was_cut_off_goes_on(
    root: Path, attack: Callable[..., dict[str, Any]], vlseg: Vlseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_parts, "SAMPLES_AT_ONCE", 1)
    asked = ("--words", "typos", "--size", 1, "--candidates", 4)
    whole = attack(*asked)
    rows, notes = rows_at(whole), EvaluationSpec.read(Path(whole["scores"]).parent / "spec.json").attack_notes
    shutil.rmtree(Path(whole["scores"]).parent)
    calls, real = [], attack_words.run_text_attack

    def stopped(*given: Any, **more: Any) -> Any:
        calls.append(given[0])
        if len(calls) == 5:  # two attacks an image: in the third one
            raise KeyboardInterrupt
        return real(*given, **more)

    monkeypatch.setattr(attack_words, "run_text_attack", stopped)
    said = vlseg("attack", root / "run", "--data", root / "data", *COMMON, *asked)
    assert said.code == 130
    assert "the same command goes on where it was" in said.err
    assert not Path(whole["scores"]).exists(), "half an evaluation is none"
    again = attack(*asked)
    assert len(calls) == 5 + 2 * 2, "of four images the two that were done are not attacked again"
    assert rows_at(again) == rows
    assert EvaluationSpec.read(Path(again["scores"]).parent / "spec.json").attack_notes == notes
    assert again["results"] == whole["results"]
    assert [file.name for file in (root / "run" / "evaluations").iterdir()] == ["data-test-p2-attack-words-typos"]


def test_sentences_are_asked_of_other_models(attack: Callable[..., dict[str, Any]]) -> None:
    asked = ("--words", "typos", "--words", "suffix", "--size", 1, "--candidates", 4)
    both = attack(*asked, runs=("run", "other"))
    assert [(one["found_on"], one["onto"]) for one in both["matrix"]] == [
        *[("run", "run")] * 2,
        *[("run", "other")] * 2,
        *[("other", "other")] * 2,
        *[("other", "run")] * 2,
    ]
    here, there = (read_scores(Path(both["matrix"][place]["scores"])) for place in (0, 2))
    for unit in ("typos", "suffix"):
        own, moved = (under(rows, "greedy", unit=unit) for rows in (here, there))
        assert [row.wording for row in own] == [row.wording for row in moved]
        assert {row.run_id for row in moved} == {"other"}
        assert {json.loads(row.condition_arguments)["found_on"] for row in moved} == {"run"}
    means = [one["dice"] for one in both["matrix"]]
    assert means[2] == pytest.approx(np.mean([row.dice for row in under(there, "greedy", unit="typos")]))
    assert [one["budget"]["keeps_meaning"] for one in both["matrix"][:2]] == [True, False]


def test_another_sentence_is_not_compared(root: Path, vlseg: Vlseg) -> None:
    record = json.loads((root / "other" / "run.json").read_text())
    (root / "other" / "run.json").write_text(json.dumps({**record, "prompt": "p1"}))
    file = root / "data" / "anns" / "test.json"
    file.write_text(file.read_text().replace('"p1": "', '"p1": "the '))
    words = ("--data", root / "data", *COMMON, "--words", "typos")
    said = vlseg("attack", root / "run", "--onto", root / "other", *words)
    assert said.code == 2
    assert "other is asked with another sentence about" in said.err
    assert "give --prompt" in said.err


@pytest.mark.parametrize("goal", ["erase", "move"])
def test_goals(attack: Callable[..., dict[str, Any]], goal: str) -> None:
    """Another word moves the answer to the other disc: it was asked for."""
    values = attack("--words", "vocabulary", "--size", 1, "--goal", goal, "--limit", 4)
    (row,) = values["results"]
    found = under(rows_at(values), "greedy")
    if goal == "move":
        against = [json.loads(one.condition_arguments)["against"] for one in found]
        assert against == ["original", "wanted"] * 4
        assert row["wanted_dice"] == pytest.approx(np.mean([one.dice for one in found[1::2]]))
        assert row["wanted_dice"] > row["robust_dice"] + 0.5
        assert all(one.area == two.area for one, two in zip(found[::2], found[1::2], strict=True)), "one answer"
    else:
        assert len(found) == row["n"] == 4


def test_a_model_that_does_not_read_its_words_loses_nothing(root: Path, vlseg: Vlseg) -> None:
    model = library.load(str(root / "run"), device="cpu").model
    module = as_module(model)
    with torch.no_grad():
        for parameter in module.text_encoder.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    model.save(root / "deaf")
    kinds = [word for kind in ("typos", "vocabulary", "suffix", "order") for word in ("--words", kind)]
    asked = ("--candidates", 5, "--prompt", "p2", "--out", root / "scores", "--json")
    said = vlseg("attack", root / "deaf", "--data", root / "data", *COMMON, *kinds, *asked)
    assert said.code == 0, said.err
    for row in said.json["results"]:
        assert row["drop"]["difference"] == 0
        assert row["random_dice"] == row["robust_dice"] == pytest.approx(said.json["clean_dice"])
        assert row["queries"] > 0
    assert said.json["monotone"] is True


class Oracle(Adding):
    """Finds bright or dark pixels, as the first of the two words says; nothing where neither is read."""

    def __init__(self) -> None:
        super().__init__(32)
        self.spec = replace(self.spec, name="oracle")

    def tokenize(self, prompts: Sequence[str]) -> Rows:
        known = {"bright": 1, "dark": 2}
        told = [next((known[word] for word in wording_of(one).words if word in known), 0) for one in prompts]
        return Rows({"ids": torch.tensor(told)[:, None]})

    def encode_prompts(self, tokens: Rows | None) -> Rows:
        assert tokens is not None
        return tokens

    def decode(self, image: Rows, prompts: Rows | None) -> Output:
        assert prompts is not None
        grey, ids = (
            image.tensors["pixels"] / 4,
            prompts.tensors["ids"][..., None, None],
        )  # the mean is 0, the deviation 1/4
        logits = torch.where(ids == 1, grey - 0.6, torch.where(ids == 2, 0.25 - grey, torch.full_like(grey, -1)))
        return Output(40 * logits)


def test_an_oracle_of_one_word_falls_to_a_typo_of_that_word(
    root: Path, vlseg: Vlseg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And to nothing that leaves the word where it is: order, and what is appended."""
    monkeypatch.setattr(scoring, "load", lambda *_, **__: Predictor(Oracle(), device="cpu"))
    kinds = [word for kind in ("typos", "vocabulary", "suffix", "order") for word in ("--words", kind)]
    common = ("--size", 1, "--candidates", 200, "--prompt", "p2", "--out", root / "scores", "--json")
    said = vlseg("attack", "oracle", "--data", root / "data", *COMMON, *kinds, *common)
    assert said.code == 0, said.err
    assert said.json["clean_dice"] > 0.95
    typos, other, suffix, order = said.json["results"]
    assert typos["robust_dice"] == other["robust_dice"] == 0
    assert suffix["drop"]["difference"] == order["drop"]["difference"] == 0
    found = under(rows_at(said.json), "greedy", unit="typos")
    assert len(found) == 8
    for row in found:
        assert row.wording.split()[1] == "disc"
        assert row.wording.split()[0] not in ("bright", "dark")
    shown = typos["sentences"]
    assert {pair["before"] for pair in shown} == {"bright disc", "dark disc"}
    assert all(pair["dice"] == 0 < pair["clean_dice"] for pair in shown)
    assert sum(pair["n"] for pair in shown) == 8
    assert suffix["sentences"] == [] or all(pair["dice"] == pair["clean_dice"] for pair in suffix["sentences"])


@pytest.mark.parametrize("method", ["greedy", "gradient"])
def test_a_vote_is_asked_itself_where_no_gradient_is_followed(root: Path, vlseg: Vlseg, method: str) -> None:
    members = [str(root / "run"), str(root / "other")]
    build_model("ensemble", arguments={"members": members, "combine": "majority"}).save(root / "vote")
    asked = ("--method", method, "--size", 1, "--candidates", 4, "--limit", 4)
    said = vlseg(
        "attack", root / "vote", "--data", root / "data", *COMMON, "--words", "typos", "--prompt", "p2",
        *asked, "--out", root / "scores", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    rows = under(read_scores(root / "scores" / "scores.parquet"), method)
    told = {json.loads(row.condition_arguments).get("found_on") for row in rows}
    assert told == ({None} if method == "greedy" else {"the mean of its members"})
    if method == "greedy":
        own = clean_rows(read_scores(root / "scores" / "scores.parquet"))
        assert all(row.dice <= before.dice + 1e-9 for row, before in zip(rows, own, strict=True))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--words", "rhymes"), "unknown kind of --words 'rhymes'"),
        (("--words", "typos", "--epsilon", "1/255"), "--epsilon: is for attacks on images; leave it out here"),
        (("--words", "typos", "--norm", "l2"), "--norm: is for attacks on images"),
        (("--words", "typos", "--place", "native"), "--place: is for attacks on images"),
        (("--words", "typos", "--step-size", "1"), "--step-size: is for attacks on images"),
        (("--words", "typos", "--restarts", "2"), "--restarts: is for attacks on images"),
        (("--words", "typos", "--round-trip", "jpeg"), "--round-trip: is for attacks on images"),
        (("--words", "typos", "--preset", "published"), "--preset: is for attacks on images"),
        (("--words", "typos", "--check-gradients"), "--check-gradients: is for attacks on images"),
        (
            ("--words", "typos", "--method", "pgd"),
            "--method: pgd changes images; with --words take greedy or gradient or",
        ),
        (("--method", "greedy"), "--method: greedy changes sentences; give --words as well, e.g. --words typos"),
        (("--size", "2"), "--size: is for attacks on sentences; give --words as well"),
        (("--candidates", "2"), "--candidates: is for attacks on sentences; give --words as well"),
        (("--attack", "TextAttack()", "--words", "typos"), "--words: --attack says everything by itself; leave it out"),
        (("--attack", "TextAttack()", "--size", "1"), "--size: --attack says everything by itself; leave it out"),
        (("--attack", "TextAttack()", "--attack", "Attack()"), "evaluations of their own; give two commands"),
        (("--attack", "TextAttack(budget=TextBudget(unit='rhymes'))"), "unknown unit 'rhymes'"),
        (("--attack", '{"budget": {"unit": "typos"}, "sorch": {}}'), "unknown part of an attack 'sorch'"),
        (("--attack", '{"budget": {"unit": "typos"}'), "attack: is no JSON"),
        (("--words", "typos", "--prompt", "p0"), "the sentences of prompt 'p0' of data hold no word; give --prompt"),
        (("--words", "synonyms", "--prompt", "p1"), "no synonym is known of any word of prompt 'p1' of data"),
        (("--words", "typos", "--goal", "make"), "--goal make: data has no sample in 'test' for it"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_leaves_nothing(
    discs: Path, vlseg: Vlseg, arguments: tuple[str, ...], line: str
) -> None:
    said = vlseg("attack", discs / "run", "--data", discs / "data", *COMMON, *arguments)
    assert said.code == 2
    assert line in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (discs / "run" / "evaluations").exists()


def test_models_that_read_nothing_are_refused(root: Path, vlseg: Vlseg) -> None:
    model = build_model("unet", arguments={"image_size": 32}, targets=("bright disc", "dark disc"))
    model.save(root / "unet")
    words = ("--data", root / "data", *COMMON, "--prompt", "p2", "--words", "typos")
    for given in ((root / "unet",), (root / "run", "--onto", root / "unet")):
        said = vlseg("attack", *given, *words)
        assert said.code == 2
        assert "(unet) reads no sentences, so there is none to attack" in said.err
        assert len(said.err.strip().splitlines()) == 1
    assert not (root / "run" / "evaluations").exists()


def test_each_attack_has_as_many_random_sentences_beside_it() -> None:
    plans = attacks_of(AttackOptions(words=("typos", "suffix"), sizes=(2, 1), candidates=7, seed=3))
    assert [one.control for one in plans] == [False, True] * 4
    for one, control in zip(plans[::2], plans[1::2], strict=True):
        assert one.words is not None
        assert control.words == replace(one.words, search=replace(one.words.search, method="random"))
        assert one.words.search.candidates == 7
    assert [one.words.budget.size for one in plans[::2] if one.words] == [1, 2, 1, 2]
    assert len(attacks_of(AttackOptions(words=("order",), method="random"))) == 2
    both = [repr(TextAttack(search=TextSearch(method))) for method in ("greedy", "gradient")]  # type: ignore[arg-type]
    assert [one.control for one in attacks_of(AttackOptions(attacks=both))] == [False, False, True]
    with pytest.raises(InputError, match="give one goal at a time"):
        attacks_of(
            AttackOptions(attacks=[repr(TextAttack()), '{"budget": {"unit": "typos"}, "goal": {"kind": "move"}}'])
        )


def test_small_copies_are_kept_where_they_are_asked_for(attack: Callable[..., dict[str, Any]]) -> None:
    values = attack("--words", "typos", "--size", 1, "--candidates", 2, "--limit", 2, "--save-images")
    names = {file.name for file in Path(values["scores"]).parent.rglob("*.parquet")}
    assert names == {"scores.parquet", "images.parquet", "outlines.parquet"}


def test_what_tables_of_a_study_read(root: Path) -> None:
    options = scoring.EvaluateOptions(device="cpu", threads=1, pictures=False)
    asked = AttackOptions(words=("typos", "suffix"), sizes=(1,), candidates=3, limit=4)
    (one,) = attack_on([str(root / "run")], [str(root / "data")], options, asked)
    rows, values = summary([one])["results"], study_values(one)
    cells = {labels["budget"]: number for labels, number in read(values, "attacks.{budget}.dice")}
    assert {name: number.value for name, number in cells.items()} == {
        "greedy 1 typo": rows[0]["robust_dice"],
        "greedy 1 word appended (meaning not kept)": rows[1]["robust_dice"],
    }
    random = [number.value for _, number in read(values, "attacks.{budget}.random")]
    assert random == [row["random_dice"] for row in rows]
    assert {number.n for number in cells.values()} == {4}


def test_words_of_one_target_and_random_sentences_alone(attack: Callable[..., dict[str, Any]]) -> None:
    asked = ("--words", "near", "--method", "random", "--size", 1, "--candidates", 3, "--target", "bright disc")
    values = attack(*asked)
    assert values["lexicon"]["words"] == len({"a", "bright", "disc", "round"})
    (row,) = values["results"]
    assert (row["n"], row["method"], row["random_dice"]) == (4, "random", None)
    assert row["robust_dice"] == pytest.approx(np.mean([one.dice for one in under(rows_at(values), "random")]))
    assert {word for one in under(rows_at(values), "random") for word in one.wording.split()} <= {
        "a", "bright", "disc", "round",
    }  # fmt: skip
