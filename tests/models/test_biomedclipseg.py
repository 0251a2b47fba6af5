"""BiomedCLIPSeg against stored outputs, and the files it comes in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vlseg.models import Rows
from vlseg.models.biomedclipseg import build_biomedclipseg
from vlseg.models.folder import load_strictly


@pytest.mark.parametrize("protocol", ["published", "corrected"])
def test_stored_output_of_the_published_network(protocol: str, golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("biomedclipseg_224")
    model = build_biomedclipseg(protocol=protocol).eval()
    weights = {key: tensor for key, tensor in stored.weights().items() if not key.endswith("position_ids")}
    load_strictly(model.network, weights, "golden")
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": stored.image(2, 224)}))
        prompts = model.encode_prompts(stored.tokens())
        logits = model.decode(image, prompts).logits[:, 0]
    stored.assert_middle(prompts.tensors["embedding"], "text_embedding", 5e-5)
    for position, tap in enumerate(model.taps):
        stored.assert_middle(image.tensors["taps"][:, position], f"block{tap}", 1e-4)
    stored.assert_maps(logits, protocol, 5e-5)
