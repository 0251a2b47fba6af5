"""`vlseg attack --check-gradients`: what it compares, what it says, and where it stands."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from attacked_models import Toy
from torch import Tensor

from vlseg.attacks import Attack, Budget, Goal, Masking, Search, apply_changes, check_masking
from vlseg.evaluation.predictor import Predictor
from vlseg.jobs import attack_masking, scoring
from vlseg.models import build_model
from vlseg.records import EvaluationSpec
from vlseg.reports import write_report

Vlseg = Callable[..., Any]
COMMON = ("--device", "cpu", "--threads", 1)
DISCS = ("bright disc", "dark disc")


class Turned(Toy):
    """Its gradient leads the other way."""

    def encode_image(self, inputs: Any) -> Any:
        pixels = inputs.tensors["pixel_values"]
        turned = 2 * pixels.detach() - pixels if pixels.requires_grad else pixels
        return super().encode_image(type(inputs)({"pixel_values": turned}))


def both(pixels: Tensor) -> Tensor:
    """Bright pixels for the one target, dark ones for the other."""
    first = pixels[:, :1]
    return torch.cat([4 * (first - 0.6), 4 * (-0.9 - first)], 1)


def toy(kind: type[Toy]) -> Toy:
    made = kind((32, 32), both)
    made.spec = type(made.spec)("toy", uses_text=False, image_size=(32, 32), targets=DISCS)
    return made


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models "turned" and "honest" that the command line knows by name."""
    made = {"turned": Turned, "honest": Toy}
    monkeypatch.setattr(scoring, "load", lambda source, **_: Predictor(toy(made[source]), device="cpu"))


def asked(vlseg: Vlseg, data: Path, *arguments: object, runs: Sequence[str] = ("turned",)) -> Any:
    said = vlseg("attack", *runs, "--data", data, *COMMON, "--prompt", "p1", *arguments)
    assert said.code == 0, said.err
    return said


@pytest.mark.usefixtures("models")
def test_a_gradient_that_leads_nowhere_is_told_everywhere(
    vlseg: Vlseg, make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, steps = make_dataset(), ("--steps", 4, "--epsilon", 0.01, "--epsilon", "80/255", "--check-gradients")
    said = asked(vlseg, data, *steps, "--onto", "honest", "--json")
    (check,) = said.json["gradients"]
    assert check["run"] == "turned"
    assert check["attack"]["budget"]["epsilon"] == 80 / 255, "the largest budget"
    assert check["n"] == 6
    assert max(check["spsa"], check["transferred"]["honest"]) > check["white"]
    assert len(check["signs"]) == 2
    assert "transferred from honest" in check["signs"][0]
    assert said.err.count("warning: gradients of turned under pgd, epsilon 80/255:") == 2
    spec = EvaluationSpec.read(Path(said.json["scores"]).parent / "spec.json")
    assert spec.attack_notes["gradients"] == [{name: value for name, value in check.items() if name != "run"}]
    other = EvaluationSpec.read(Path(said.json["matrix"][-1]["scores"]).parent / "spec.json")
    assert other.run_id == "honest"
    assert other.attack_notes == {}, "it was not checked itself"
    told = asked(vlseg, data, *steps, runs=("honest",))
    assert "no sign of masked gradients (no proof); mean success: search by gradient" in " ".join(told.out.split())
    assert "warning: gradients" not in told.err


@pytest.mark.usefixtures("models")
def test_several_models_are_checked_by_each_other(
    vlseg: Vlseg, make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("--steps", 3, "--epsilon", 0.2, "--limit", 4, "--check-gradients", "--json")
    found = asked(vlseg, make_dataset(), *arguments, runs=("turned", "honest")).json["gradients"]
    assert [(one["run"], list(one["transferred"])) for one in found] == [("turned", ["honest"]), ("honest", ["turned"])]
    assert [bool(one["signs"]) for one in found] == [True, False]


@pytest.mark.usefixtures("models")
def test_many_samples_are_spread(
    vlseg: Vlseg, make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(attack_masking, "CHECKED_SAMPLES", 3)
    seen: list[Any] = []
    real = attack_masking.check_masking

    def noted(*given: Any, **more: Any) -> Any:
        seen.append(given)
        return real(*given, **more)

    monkeypatch.setattr(attack_masking, "check_masking", noted)
    (check,) = asked(
        vlseg, make_dataset(), "--method", "fgsm", "--epsilon", 0.1, "--check-gradients", "--json", runs=("honest",)
    ).json["gradients"]
    assert check["n"] == 3
    assert len({id(one) for one in seen[0][2]}) == 3, "of six samples on three images one each"


def test_the_report_says_what_was_seen(
    trained: Path, vlseg: Vlseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = "SPSA, which sees no gradient, reaches 0.500 on average"
    for number, signs in enumerate([(), (sign,)]):
        found = Masking(torch.tensor([0.25]), None, torch.tensor([0.5]), 0.0, signs)
        monkeypatch.setattr(attack_masking, "check_masking", lambda *_, found=found, **__: found)
        run = tmp_path / f"run{number}"
        shutil.copytree(trained / "run", run, ignore=shutil.ignore_patterns("evaluations"))
        arguments = ("--method", "fgsm", "--epsilon", "8/255", "--limit", 1, "--check-gradients")
        said = vlseg("attack", run, "--data", trained / "data", *COMMON, *arguments)
        assert said.code == 0, said.err
        told = f"{'1 sign' if signs else 'no sign'} of masked gradients{'' if signs else ' (no proof)'}; mean success:"
        told += " search by gradient 0.250, SPSA 0.500"
        assert told in " ".join(said.out.split())
        page = write_report([run], tmp_path / "r.html", title="t").read_text()
        assert f"Gradients under fgsm, epsilon 8/255, 1 sample: {told}." in page
        assert (sign in page) == bool(signs)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--method", "spsa"),
            "--check-gradients: is of searches that follow each image's gradient, not of spsa; take",
        ),
        (("--method", "universal"), "not of universal; take pgd or segpgd or apgd"),
        (("--round-trip", "jpeg"), "looks at images before they are written; leave --round-trip out"),
        (("--preset", "published"), "--check-gradients: is not for --preset; leave one of the two out"),
    ],
)
def test_what_follows_no_gradient_is_not_checked(
    trained: Path, vlseg: Vlseg, arguments: tuple[str, ...], line: str
) -> None:
    said = vlseg("attack", trained / "run", "--data", trained / "data", *COMMON, "--check-gradients", *arguments)
    assert said.code == 2
    assert line in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_given_changes_count_as_a_transfer() -> None:
    """What is given as changes is held against the white box as what is found on another model is."""
    rng = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 8, 8, generator=rng) for _ in range(4)]
    masks = [(one[0] > 0.525).float() for one in images]
    attack = Attack(Budget(epsilon=0.15), Goal(), Search("pgd", steps=4))
    model = Turned((8, 8), lambda pixels: 4 * (pixels[:, :1] - 0.1))
    changes = [0.15 * (1 - 2 * mask).expand(3, -1, -1) for mask in masks]  # to the other side of the threshold
    words = ["thing"] * 4
    told = check_masking(attack, model, images, words, masks, changes={"by hand": changes})
    assert torch.equal(told.given["by hand"], apply_changes(attack, model, images, words, masks, changes).success)
    assert told.transfer is None
    assert "an attack transferred from by hand reaches" in told.signs[0]


def test_of_a_vote_the_mean_of_its_members_is_checked(
    trained: Path, vlseg: Vlseg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_model("ensemble", arguments={"members": [str(trained / "run")] * 2, "combine": "majority"}).save(
        tmp_path / "v"
    )
    seen: list[Any] = []

    def noted(attack: Attack, model: Any, *_: Any, **__: Any) -> Masking:
        seen.append(model.combine)
        return Masking(torch.tensor([0.5]), None, torch.tensor([0.25]), 0.0, ())

    monkeypatch.setattr(attack_masking, "check_masking", noted)
    arguments = ("--method", "fgsm", "--epsilon", "8/255", "--limit", 1, "--check-gradients", "--prompt", "p1")
    said = vlseg(
        "attack", tmp_path / "v", "--data", trained / "data", *COMMON, *arguments, "--out", tmp_path / "scores"
    )
    assert said.code == 0, said.err
    assert seen == ["mean"]
