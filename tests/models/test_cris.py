"""CRIS against stored outputs, its protocols, and the files it comes in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vlseg.models import Rows
from vlseg.models.cris import build_cris
from vlseg.models.folder import load_strictly


@pytest.mark.parametrize(("protocol", "mode"), [("medvlsm", "published"), ("attention_mask", "attention_mask")])
def test_stored_output_of_the_published_network(protocol: str, mode: str, golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("cris_r50_416")
    model = build_cris(protocol=protocol).eval()
    load_strictly(model.network, stored.weights(), "golden")
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": stored.image(2, 416)}))
        prompts = model.encode_prompts(stored.tokens())
        logits = model.decode(image, prompts).logits[:, 0]
        if mode == "published":
            for name in ("c3", "c4", "c5"):
                stored.assert_middle(image.tensors[name], name, 1e-3)
            for name in ("state", "words"):
                stored.assert_middle(prompts.tensors[name], name, 1e-4)
            fused = model.network.neck(*(image.tensors[name] for name in ("c3", "c4", "c5")), prompts.tensors["state"])
            stored.assert_middle(fused, "fq", 1e-3)
    stored.assert_maps(logits, mode, 2e-3)
