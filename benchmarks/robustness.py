"""How robust models are, and whether reading makes one more fragile: trained and attacked by vlseg's own commands.

    python benchmarks/robustness.py --work FOLDER [--parts busi phantoms published ...] [--seeds 5] [--data FOLDER]

phantoms   clipseg-tiny, smp-unet, unet-d, and clipseg-tiny trained on attacked images (PGD), 64 px, told the class:
           FGSM, PGD and APGD with noise beside them, untargeted; PGD to erase and to make.
busi       `guide` (EfficientNet-Lite0 and all-MiniLM-L6-v2, frozen, 128 px) on reduced BUSI, told p6, and its twin that
           is told nothing: same settings, samples and searches; each one's changes are laid over the other's images.
told       the same told less: trained on the class, and trained on p6 but asked by the class.
masking    whether the gradients of both lead nowhere: one seed of each against SPSA.
words      typos, synonyms and appended words in the sentences of the model that is told p6.
published  `--preset published` on clipseg-tiny and on guide.

Runs and attacks that lie in the work folder are not done again. Writes results/robustness.json from whatever is there
after every part; `--figures` does only that, and `--tables` prints the docs' tables. One thread.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from robustness_figures import CLEAN, Answers, answers, before_and_after, curve, pair, shown
from robustness_tables import tables

from vlseg.attacks import Attack, Budget, Goal, Search
from vlseg.cli import main as vlseg
from vlseg.records import EvaluationSpec, RunConfig, read_record, read_scores

HERE = Path(__file__).parent
PARTS = ("busi", "told", "masking", "words", "phantoms", "published")
Asked = dict[str, Any]

GUIDE = {"epochs": 14, "batch_size": 8, "feature_views": 4, "patience": "null"}
BUSI = {
    arm: {"model": "guide", "prompt": arm, "arguments": f"{{encoder_weights: lite0, image_size: 128, text: {text}}}"}
    for arm, text in {"none": "none", "p6": "minilm", "class": "minilm"}.items()
}
TWIN = "none"
BUSI_SEARCHES = [("pgd", 10, 1 / 8), ("pgd", 10, 2), ("pgd", 10, 8), ("apgd", 10, 1 / 8)]
"""Budgets in grey levels of 8 bits; an eighth of one, too: of a frozen encoder that is plenty."""
BUSI_LIMIT = 40
MASKING, MASKING_LIMIT = ("pgd", 10, 1 / 8), 16

STEPS = {"batch_size": 8, "epochs": 1000, "patience": "null", "validate_every": 1000}
PGD = {"adversarial": "pgd", "adversarial_epsilon": 8 / 255, "adversarial_steps": 3, "adversarial_share": 1.0}
TINY: Asked = {"model": "clipseg-tiny", "prompt": "class", "arguments": "{image_size: 64}"}
PHANTOMS: dict[str, Asked] = {
    "clipseg-tiny": {**TINY, "settings": {**STEPS, "max_steps": 400}},
    "clipseg-tiny-pgd": {**TINY, "settings": {**STEPS, "max_steps": 400, **PGD}},
    "smp-unet": {
        "model": "smp-unet",
        "prompt": "class",
        "arguments": "{encoder: timm-tf_efficientnet_lite0, encoder_weights: lite0, image_size: 64}",
        "settings": {**STEPS, "max_steps": 200},
    },
    "unet-d": {
        "model": "unet-d",
        "prompt": "class",
        "arguments": "{image_size: 32}",
        "settings": {**STEPS, "max_steps": 200, "learning_rate": 1e-3},
    },
}
PHANTOM_EPSILONS = (2, 8, 16)
SEARCHES = (("fgsm", 1), ("pgd", 10), ("apgd", 10))
PHANTOM_SEARCHES = [(method, steps, one) for one in PHANTOM_EPSILONS for method, steps in SEARCHES]
LIMIT = 40
PUBLISHED_LIMIT = 20


def search(method: str, steps: int, epsilon: float, goal: str = "untargeted") -> str:
    """An attack, as `vlseg attack --attack` takes it; epsilon in grey levels of 8 bits."""
    return repr(Attack(Budget("linf", epsilon / 255), Goal(goal), Search(method, steps)))  # type: ignore[arg-type]


def searches(asked: Iterable[tuple[str, int, float]]) -> list[str]:
    """Methods, steps and budgets as options of a command."""
    return [word for one in asked for word in ("--attack", search(*one))]


@dataclass(frozen=True)
class Place:
    """The work folder."""

    root: Path

    def run(self, arm: str, seed: int) -> Path:
        """Of a training."""
        return self.root / "runs" / f"{arm}-{seed}"

    def told(self, name: str) -> Path:
        """What a command answered."""
        return self.root / "told" / f"{name}.json"

    def call(self, name: str, arguments: Sequence[str]) -> None:
        """A command of vlseg in this process, unless it was done; its answer is kept.

        Raises:
            SystemExit: it failed.
        """
        if self.told(name).exists():
            return
        print(f"{name}: vlseg {' '.join(arguments)}", flush=True)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                threads = [] if "--resume" in arguments else ["--threads", "1"]  # a run goes on with its own settings
                vlseg([*arguments, *threads, "--json"])
            except SystemExit as end:
                if end.code:
                    raise
        self.told(name).parent.mkdir(parents=True, exist_ok=True)
        self.told(name).write_text(out.getvalue().splitlines()[-1] + "\n")

    def train(self, name: str, arm: Asked, seed: int, data: Path) -> None:
        """One run."""
        out = self.run(name, seed)
        if (out / "model").exists():
            return
        settings = {"seed": seed, "model_arguments": arm["arguments"], **arm.get("settings", GUIDE)}
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        if arm["prompt"] != TWIN:
            words += ["--prompt", arm["prompt"]]
        if arm["model"] == "guide":
            words += ["--cache", str(self.root / "cache")]
        command = ["train", "--model", arm["model"], "--data", str(data), "--out", str(out), *words]
        if (out / "config.yaml").exists():  # it was cut off
            command = ["train", "--resume", "--out", str(out)]
        self.call(f"train-{name}-{seed}", command)

    def found(self, name: str, arm: str, seed: int, found_on: str | None = None) -> Answers | None:
        """What a run answered in an attack of that name; `found_on`: under changes found on that arm's run."""
        if not self.told(name).exists():
            return None
        told = json.loads(self.told(name).read_text())
        own = f"{arm}-{seed}"
        files = {(row["found_on"], row["onto"]): row["scores"] for row in told["matrix"]}
        file = Path(files[f"{found_on}-{seed}" if found_on else own, own] if files else told["scores"])
        return answers(read_scores(file), groups_known=EvaluationSpec.read(file.parent / "spec.json").groups_known)


def do_busi(place: Place, data: Path, seeds: int) -> None:
    """The model that is told most and its twin: train both, attack both, lay each one's changes over the other's."""
    asked = ["--data", str(data), "--limit", str(BUSI_LIMIT), *searches(BUSI_SEARCHES)]
    for seed in range(seeds):
        for arm in (TWIN, "p6"):
            place.train(f"busi-{arm}", BUSI[arm], seed, data)
        runs = [str(place.run(f"busi-{arm}", seed)) for arm in (TWIN, "p6")]
        place.call(f"busi-pair-{seed}", ["attack", *runs, *asked])


def do_told(place: Place, data: Path, seeds: int) -> None:
    """The same told less: trained on the class, and trained on p6 but asked by the class."""
    asked = ["--data", str(data), "--limit", str(BUSI_LIMIT), *searches(BUSI_SEARCHES)]
    for seed in range(seeds):
        run = str(place.run("busi-p6", seed))
        place.call(f"busi-p6-class-{seed}", ["attack", run, "--prompt", "class", *asked])
    for seed in range(seeds):
        place.train("busi-class", BUSI["class"], seed, data)
        place.call(f"busi-class-{seed}", ["attack", str(place.run("busi-class", seed)), *asked])


def busi_figures(place: Place, seeds: int) -> dict[str, Any]:
    """Of the seeds that are there."""
    asked = {
        "none": ("busi-pair", "busi-none", None),
        "class": ("busi-class", "busi-class", None),
        "p6": ("busi-pair", "busi-p6", None),
        "p6 asked class": ("busi-p6-class", "busi-p6", None),
        "none under p6's changes": ("busi-pair", "busi-none", "busi-p6"),
        "p6 under none's changes": ("busi-pair", "busi-p6", "busi-none"),
    }
    found = {}
    for name, (command, arm, other) in asked.items():
        all_of = (place.found(f"{command}-{seed}", arm, seed, other) for seed in range(seeds))
        found[name] = [one for one in all_of if one is not None]
    found = {name: runs for name, runs in found.items() if runs}
    told: dict[str, Any] = {"arms": {}, "pairs": {}}
    for name, runs in found.items():
        told["arms"][name] = {"seeds": len(runs), "all": curve(runs), "present": curve(runs, present=True)}
        if "changes" not in name:
            told["arms"][name]["shown"] = shown(told["arms"][name]["all"])
    for name in ("class", "p6", "p6 asked class"):
        if name in found:
            count = min(len(found[TWIN]), len(found[name]))
            told["pairs"][name] = {
                part: {
                    one: pair(found[TWIN][:count], found[name][:count], one, present=part == "present")
                    for one in found[name][0]
                    if one != CLEAN
                }
                for part in ("all", "present")
            } | {"seeds": count}
    return told


def do_masking(place: Place, data: Path, seeds: int) -> None:
    """Whether the gradients of twin and reading sister lead nowhere: against SPSA and each other's changes."""
    for seed in range(seeds):
        runs = [str(place.run(f"busi-{arm}", seed)) for arm in (TWIN, "p6")]
        asked = ["--data", str(data), "--limit", str(MASKING_LIMIT), *searches([MASKING]), "--check-gradients"]
        place.call(f"masking-{seed}", ["attack", *runs, *asked])


def masking_figures(place: Place, seeds: int) -> dict[str, Any]:
    """Success by run, of the seeds that are there."""
    told = [json.loads(file.read_text()) for seed in range(seeds) if (file := place.told(f"masking-{seed}")).exists()]
    kept = ("n", "white", "spsa", "transferred", "no_gradient", "signs")
    return {one["run"]: {key: one[key] for key in kept} for values in told for one in values["gradients"]}


def do_words(place: Place, data: Path, seeds: int) -> None:
    """Attacks on the sentence of the model that reads p6."""
    kinds = [word for kind in ("typos", "synonyms", "suffix") for word in ("--words", kind)]
    asked = [
        "--data",
        str(data),
        "--limit",
        str(BUSI_LIMIT),
        *kinds,
        "--size",
        "1",
        "--size",
        "2",
        "--candidates",
        "16",
    ]
    for seed in range(seeds):
        place.call(f"words-{seed}", ["attack", str(place.run("busi-p6", seed)), *asked])


def words_figures(place: Place, seeds: int) -> dict[str, Any]:
    """Of the seeds that are there; each attack beside the same samples as they are."""
    found = [place.found(f"words-{seed}", "busi-p6", seed) for seed in range(seeds)]
    runs = [one for one in found if one is not None]
    told: dict[str, Any] = {}
    for name in runs[0] if runs else ():
        if name != CLEAN:
            told[name] = before_and_after(runs, name, present=True)
    return told


def do_phantoms(place: Place, seeds: int, arms: Sequence[str]) -> None:
    """Draw, train and attack, a seed at a time."""
    data = place.root / "phantoms"
    if not data.exists():
        size = ["--size", "64", "--train", "400", "--val", "30", "--test", "120"]
        with contextlib.suppress(SystemExit):
            vlseg(["data", "phantom", "--out", str(data), *size])
    limit = ["--data", str(data), "--limit", str(LIMIT)]
    for seed in range(seeds):
        for arm in arms:
            if "adversarial" not in RunConfig.model_fields and arm.endswith("-pgd"):
                continue
            place.train(arm, PHANTOMS[arm], seed, data)
            run = str(place.run(arm, seed))
            place.call(f"phantoms-{arm}-{seed}", ["attack", run, *limit, *searches(PHANTOM_SEARCHES)])
            for goal in ("erase", "make"):
                asked = ["--attack", search("pgd", 10, 8, goal)]
                place.call(f"phantoms-{arm}-{goal}-{seed}", ["attack", run, *limit, *asked])


def phantom_figures(place: Place, seeds: int) -> dict[str, Any]:
    """Of the seeds that are there."""
    told: dict[str, Any] = {}
    for arm in PHANTOMS:
        there = [seed for seed in range(seeds) if place.told(f"phantoms-{arm}-make-{seed}").exists()]
        if not there:
            continue
        runs = [place.found(f"phantoms-{arm}-{seed}", arm, seed) or {} for seed in there]
        curves = curve(runs)
        told[arm] = {"seeds": len(there), "all": curves, "present": curve(runs, present=True)}
        told[arm]["shown"] = shown(curves)
        told[arm]["validated"] = [read_record(place.run(arm, seed) / "run.json").summary for seed in there]
        told[arm]["validated"] = [one.get("best_val_dice") for one in told[arm]["validated"]]
        for goal in ("erase", "make"):
            told[arm][goal] = curve([place.found(f"phantoms-{arm}-{goal}-{seed}", arm, seed) or {} for seed in there])
    return told


def do_published(place: Place, data: Path, seeds: int) -> None:
    """The preset, on a run of each of two models."""
    given = {"clipseg-tiny": place.root / "phantoms", "busi-p6": data}
    for seed in range(seeds):
        for arm, where in given.items():
            if place.run(arm, seed).exists():
                words = ["--data", str(where), "--preset", "published", "--limit", str(PUBLISHED_LIMIT)]
                place.call(f"published-{arm}-{seed}", ["attack", str(place.run(arm, seed)), *words])


def published_figures(place: Place, seeds: int) -> dict[str, Any]:
    """Of the seeds that are there."""
    told = {}
    for arm in ("clipseg-tiny", "busi-p6"):
        found = [place.found(f"published-{arm}-{seed}", arm, seed) for seed in range(seeds)]
        runs = [one for one in found if one is not None]
        if runs:
            told[arm] = {"seeds": len(runs), "all": curve(runs), "present": curve(runs, present=True)}
    return told


def figures(place: Place, seeds: int) -> dict[str, Any]:
    """Everything that is there."""
    versions = {name: importlib.metadata.version(name) for name in ("vlseg", "torch", "timm", "numpy")}
    return {
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), **versions},
        "machine": f"one thread of {platform.machine()}",
        "phantoms": phantom_figures(place, seeds),
        "busi": busi_figures(place, seeds) if place.told("busi-pair-0").exists() else {},
        "masking": masking_figures(place, seeds),
        "words": words_figures(place, seeds),
        "published": published_figures(place, seeds),
    }


def rounded(value: Any) -> Any:
    """Numbers to five digits behind the point."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Do what is missing; write after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "busi_train_small")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--arms", nargs="+", choices=PHANTOMS, default=list(PHANTOMS), help="of phantoms")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--figures", action="store_true", help="compute from what is there, and do nothing else")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "robustness.json")
    parser.add_argument("--tables", action="store_true", help="print the docs' tables from the results, no more")
    asked = parser.parse_args()
    if asked.tables:
        for name, lines in tables(json.loads(asked.out.read_text())).items():
            print(f"{name}\n", *lines, "", sep="\n")
        return
    place = Place(asked.work)
    parts = {
        "busi": lambda: do_busi(place, asked.data, asked.seeds),
        "told": lambda: do_told(place, asked.data, asked.seeds),
        "masking": lambda: do_masking(place, asked.data, min(asked.seeds, 1)),
        "words": lambda: do_words(place, asked.data, asked.seeds),
        "phantoms": lambda: do_phantoms(place, asked.seeds, asked.arms),
        "published": lambda: do_published(place, asked.data, asked.seeds),
    }
    for part in () if asked.figures else asked.parts:
        parts[part]()
        write(place, asked)
    write(place, asked)


def write(place: Place, asked: argparse.Namespace) -> None:
    """The results of all that is there."""
    asked.out.write_text(json.dumps(rounded(figures(place, asked.seeds)), indent=1) + "\n")


if __name__ == "__main__":
    main()
