"""Thresholds of members, and the three ways to combine them, against their definitions."""

from pathlib import Path

import pytest
import torch
from tiny_models import TARGETS, TINY, made

from vlseg.models import Segmenter, as_module, build_model, load_model
from vlseg.models.ensemble.model import Ensemble


def members() -> list[Segmenter]:
    torch.manual_seed(1)
    cris = build_model("cris", arguments=TINY["cris"], protocol="medvlsm")  # 0.35
    as_module(cris).eval()
    return [cris, made("clipseg"), made("clipseg-tiny")]


@pytest.mark.parametrize(("combine", "threshold"), [("mean", 0.45), ("majority", 0.5), ("stack", 0.5)])
@torch.no_grad()
def test_members_keep_their_thresholds(combine: str, threshold: float, tmp_path: Path) -> None:
    models = members()
    model = build_model("ensemble", arguments={"members": models, "combine": combine})
    assert model.spec.threshold == pytest.approx(threshold)
    model.save(tmp_path)
    again = load_model(str(tmp_path))
    assert isinstance(again, Ensemble)
    assert again.thresholds == [0.35, 0.5, 0.5]
    assert again.spec == model.spec
    images = [torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(0))]
    output = as_module(again).eval()(again.prepare(images), again.tokenize(TARGETS[:1]))
    assert output.samples is not None
    probabilities = output.samples[:, 0, 0].sigmoid()
    if combine == "mean":
        expected = probabilities.mean(0)
    elif combine == "majority":
        expected = (probabilities > torch.tensor([0.35, 0.5, 0.5])[:, None, None]).float().mean(0)
    else:
        expected = output.samples[:, 0, 0].mean(0).sigmoid()  # before training all weigh the same
    torch.testing.assert_close(output.logits[0, 0].sigmoid(), expected, rtol=1e-4, atol=1e-5)
