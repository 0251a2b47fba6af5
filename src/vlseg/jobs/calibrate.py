"""What `vlseg calibrate` does: what training stores with a model today, for one that was made before or elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlseg.evaluation import Judging, write_judging
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.judging import Fitting, fit_judging, shown
from vlseg.jobs.subsets import Chosen, choose
from vlseg.models import load_model
from vlseg.models.device import check_precision, resolve_device, set_threads
from vlseg.prompts import Prompted
from vlseg.records import InputError, check_folder, read_config, read_record


@dataclass(frozen=True)
class Calibrated:
    """What was stored, and in which model's folder."""

    folder: Path
    judging: Judging

    def lines(self) -> list[str]:
        """In words, a line each."""
        familiarity, presence, words = self.judging.familiarity, self.judging.presence, self.judging.vocabulary
        told = list(self.judging.missing)
        if familiarity is not None:
            known = familiarity.told
            what = "colours and image encoder" if familiarity.parts[0].features else "colours alone"
            told.append(
                f"familiar images: {what}, fitted to {known.trained} training images; limit from {known.n} of val, at "
                f"most {known.rate:.1%} of images like them are called unlike"
            )
        if presence is not None:
            told.append(
                f"presence: a probability, from {presence.n} samples of val, {presence.present} with the target"
            )
        if words is not None:
            told.append(
                f"words: {len(words.words)}, and {len(words.prompts)} prompts, of {words.shared_by} patients or more"
            )
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        familiarity, presence, words = self.judging.familiarity, self.judging.presence, self.judging.vocabulary
        return {
            "folder": str(self.folder),
            "familiarity": None if familiarity is None else asdict(familiarity.told),
            "presence": None if presence is None else presence.to_json(),
            "words": None if words is None else len(words.words),
            "prompts": None if words is None else len(words.prompts),
            "missing": list(self.judging.missing),
        }


def calibrate(
    source: str, data: Sequence[str], prompt: str | None, target: str | None, *, options: Mapping[str, Any]
) -> Calibrated:
    """Fit what tells usual images, presence and known words, and store it in the model's folder.

    A run is fitted to the samples that it was trained and validated on; a model's folder to train and val of `data`.

    Args:
        source: a run's or a model's folder.
        data: for a run where its data lie now, if not where they were; needed for a model's folder.
        prompt: of a model's folder; a run has its own.
        target: as prompt.
        options: device, precision (of a model's folder; a run has its own), threads, protocol and arguments, as for
            `load`.

    Raises:
        InputError: no folder to store it in, an unfinished run, or data that are not the run's.
    """
    folder = Path(source)
    if (folder / "run.json").exists():
        if prompt is not None or target is not None:
            raise InputError("calibrate: a run has its own prompt and target; leave --prompt and --target out")
        pool, chosen, trained, precision = of_run(folder, data)
        folder = folder / "model"
    elif (folder / "config.json").is_file():
        if not data:
            raise InputError(f"{folder}: a model's folder does not say what it was trained on; give --data")
        pool, precision = open_pool(data, prompt or "class", target), str(options.get("precision", "fp32"))
        chosen = Chosen(pool.split("train"), pool.split("val"))
        trained = chosen.train
    else:
        raise InputError(f"{source}: no run's or model's folder, so nothing can be stored there; give one")
    check_folder("calibrate", folder, written=True)
    set_threads(options.get("threads"))
    device = resolve_device(str(options.get("device", "auto")))
    check_precision(precision, device)
    # Not as a predictor, which would read what is stored already: that may be broken, and this is what mends it.
    model = load_model(str(folder), protocol=options.get("protocol"), arguments=options.get("arguments"))
    if random_part := getattr(model, "random_part", None):
        raise InputError(f"{folder}: leaves the {random_part} random, which predicts nothing; train it first")
    judging = fit_judging(Fitting(model, pool, trained, chosen.val, device, precision))
    write_judging(folder, judging)
    return Calibrated(folder, judging)


def of_run(folder: Path, data: Sequence[str]) -> tuple[Pool, Chosen, list[Prompted], str]:
    """A done run's data, the samples it trains and validates on, those that training showed, and its precision.

    Args:
        folder: of the run.
        data: where its data lie now, if not where they were.

    Raises:
        InputError: an unfinished run, or data that are not the run's.
    """
    record, config = read_record(folder / "run.json"), read_config(folder / "config.yaml")
    if record.status != "done":
        raise InputError(f"{folder}: the run is not done (status {record.status}); vlseg train --resume --out {folder}")
    pool = open_pool(list(data) or config.data, config.prompt, config.target)
    if pool.fingerprint != record.data_fingerprint:
        raise InputError(
            f"data: {pool.name} is not what {folder} was trained on, or has changed since; give its data's folder as "
            "--data"
        )
    chosen = choose(pool.split("train"), pool.split("val"), config)
    return pool, chosen, shown(chosen.train, config), config.precision
