"""What docs/cannot-judge.md says of real images, with guide's pretrained encoder as it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from weights_here import installed

from vlseg.data import load_image, read_image
from vlseg.evaluation import Familiarity, Predictor
from vlseg.jobs.datasets import open_pool
from vlseg.jobs.judging import Fitting, fit_judging
from vlseg.models import build_model

OTHERS = ("chest_xray_sample/images", "lvit_monuseg_sample/Train_Folder/img", "chase_db1/images")


@pytest.mark.slow
def test_other_kinds_of_images_are_unlike_breast_ultrasound(shared: Path) -> None:
    installed("lite0")
    installed("minilm")
    data = shared / "data" / "busi_train_small"
    if not data.is_dir():
        pytest.skip(f"{data} is not here")
    torch.manual_seed(0)
    model = build_model("guide", arguments={"image_size": 160}, targets=("breast tumor",))
    pool = open_pool([str(data)], "p1")
    fitting = Fitting(model, pool, pool.split("train"), pool.split("val"), torch.device("cpu"), "fp32")
    judging = fit_judging(fitting)
    assert isinstance(judging.familiarity, Familiarity)
    assert judging.familiarity.told.n == 71
    assert judging.presence is None  # "no tumor" tells
    predictor = Predictor(model, device="cpu", judging=judging)

    def unlike(images: list[np.ndarray]) -> int:
        verdicts = [predictor.judge(image) for image in images]
        return sum(verdict is not None and verdict.state == "unlike" for verdict in verdicts)

    own = [load_image(item.sample, pool.infos[item.sample.dataset]) for item in pool.split("test")]
    assert unlike(own) <= binom.ppf(0.999, len(own), 3 / 72)
    for folder in OTHERS:
        images = [read_image(path) for path in sorted((shared / "data" / folder).iterdir())]
        grey = [np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) for image in images]
        assert unlike(images) == unlike(grey) == len(images) > 0
    changes: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda image: 1 - image,
        lambda image: np.ascontiguousarray(np.rot90(image)),
        lambda image: image * np.array([1, 0.85, 0.7], np.float32),
        np.zeros_like,
        np.ones_like,
    ]
    for change in changes:
        assert unlike([change(image) for image in own[:30]]) >= 27
