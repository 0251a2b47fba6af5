"""The blind control: one mask an image, whatever is asked."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlseg.data import load_mask
from vlseg.evaluation import (
    Prediction,
    Query,
    choose_text_blind_rule,
    clean_queries,
    text_blind,
    text_blind_rules,
)
from vlseg.evaluation.text_blind import UNION
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
from vlseg.models import build_model
from vlseg.phantoms import write_phantoms
from vlseg.records import InputError

PROMPT = "class+attributes"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blind") / "data"
    write_phantoms(folder, level="easy", counts={"train": 1, "val": 12, "test": 12}, size=32, seed=1)
    return folder


def oracle(pool: Pool, only: str | None = None) -> object:
    """Told a class, it gives everything of that class in the image; with `only`, nothing for other classes."""

    def answer(image: np.ndarray, queries: Sequence[Query]) -> Iterable[Prediction]:
        for query in queries:
            mask = np.zeros(image.shape[:2], dtype=bool)
            for sample in pool.datasets[0].samples:
                wanted = only is None or query.named.target == only
                if wanted and (sample.image_id, sample.target) == (query.prompted.sample.image_id, query.named.target):
                    mask |= load_mask(sample, pool.datasets[0].info, None)
            yield Prediction(mask.astype(np.float32) * 0.9, mask, float(mask.max()))

    return answer


def test_every_prompt_of_an_image_gets_the_same_mask_and_it_stays_below_the_ceiling(phantoms: Path) -> None:
    pool = open_pool([str(phantoms)], PROMPT, None)
    queries = clean_queries(pool.split("test"))
    answer = text_blind(oracle(pool), ("dark cyst", "bright nodule"))
    by_image: dict[str, list[Query]] = {}
    for query in queries:
        by_image.setdefault(query.prompted.sample.image_id, []).append(query)
    for group in by_image.values():
        union = np.any([load_mask(q.prompted.sample, pool.datasets[0].info, None) for q in group], axis=0)
        predictions = list(answer(np.zeros((32, 32, 3), np.float32), group))
        assert len(predictions) == len(group)
        assert all((one.mask == predictions[0].mask).all() for one in predictions)
        assert (predictions[0].mask >= union).all()


def test_the_rule_is_the_best_on_val(phantoms: Path) -> None:
    pool = open_pool([str(phantoms)], PROMPT, None)
    spec = replace(build_model("unet", targets=("dark cyst", "bright nodule")).spec)
    rules = text_blind_rules(spec)
    assert set(rules) == {"dark cyst", "bright nodule", UNION}
    val = pool.split("val")
    assert choose_text_blind_rule(oracle(pool), rules, val, pool.infos) == UNION
    cysts = [item for item in val if item.sample.target == "dark cyst"]
    assert choose_text_blind_rule(oracle(pool), rules, cysts, pool.infos) == "dark cyst"
    assert choose_text_blind_rule(oracle(pool, "dark cyst"), rules, [], pool.infos) == UNION


def test_a_u_net_is_scored_blind_and_told(phantoms: Path, tmp_path: Path) -> None:
    build_model("unet", arguments={"image_size": 32}, targets=("dark cyst", "bright nodule")).save(tmp_path / "model")
    options = EvaluateOptions(prompt=PROMPT, threads=1, threshold=0.5)
    source, data = str(tmp_path / "model"), [str(phantoms)]
    told = evaluate_on(source, data, options, tmp_path / "told")
    blind = evaluate_on(source, data, replace(options, condition="blind"), tmp_path / "blind")
    assert (told.spec.told, blind.spec.told) == ("target", "nothing")
    assert blind.spec.condition_arguments["rule"] in ("dark cyst", "bright nodule", UNION)
    assert (told.spec.text_blind_ceiling, told.spec.class_ceiling) == (
        blind.spec.text_blind_ceiling,
        blind.spec.class_ceiling,
    )
    for scores, key in ((told.scores, "named"), (blind.scores, "image")):
        areas: dict[tuple[str | None, ...], set[int]] = {}
        for row in scores:
            areas.setdefault((row.image_id, row.target if key == "named" else None), set()).add(row.area)
        assert all(len(sizes) == 1 for sizes in areas.values())
    assert blind.aggregate.dice_present.mean <= blind.spec.text_blind_ceiling + 1e-9  # type: ignore[operator]
    assert told.aggregate.dice_present.mean <= told.spec.class_ceiling + 1e-9  # type: ignore[operator]


def test_models_that_read_and_val_itself_are_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads the prompt"):
        text_blind_rules(build_model("clipseg-tiny").spec)
    build_model("unet", arguments={"image_size": 32}, targets=("dark cyst", "bright nodule")).save(tmp_path / "model")
    options = EvaluateOptions(prompt=PROMPT, threads=1, condition="blind", split="val")
    with pytest.raises(InputError, match="chosen on val"):
        evaluate_on(str(tmp_path / "model"), [str(phantoms)], options, tmp_path / "out")
