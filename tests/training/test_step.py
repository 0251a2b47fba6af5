"""A step decodes no more rows than there are different answers, and gives the same logits as decoding every row."""

import pytest
import torch

from vlseg.models import build_model
from vlseg.training.loop import TrainingStep

TARGETS = ("cyst", "nodule")
IMAGE_OF, TARGET_OF = [0, 0, 1, 1, 1, 2, 0], [0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("name", "rows"), [("unet", 3), ("unet-target", 5), ("clipseg-tiny", 5)])
def test_what_is_asked_twice_is_decoded_once(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build_model(name, targets=TARGETS, arguments={"image_size": 32})
    inputs = model.prepare([torch.rand(3, 32, 32) for _ in range(3)])
    tokens = model.tokenize(list(TARGETS))
    told = tokens.tensors if tokens is not None else {}
    image_of, target_of = torch.tensor(IMAGE_OF), torch.tensor(TARGET_OF)
    channel_of = target_of if name == "unet" else torch.zeros_like(target_of)
    decoded: list[int] = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda image, prompts: decoded.append(len(image)) or decode(image, prompts))
    found = TrainingStep(model)(inputs.tensors, told, image_of, target_of, channel_of, False, False)
    assert decoded == [rows]
    features, prompts = model.encode_image(inputs), model.encode_prompts(tokens)
    for row, (image, target) in enumerate(zip(IMAGE_OF, TARGET_OF, strict=True)):
        told_alone = prompts[torch.tensor([target])] if prompts is not None else None
        alone = decode(features[torch.tensor([image])], told_alone)
        channel = target if name == "unet" else 0
        assert torch.allclose(found[row, 0], alone.logits[0, channel], atol=1e-5)
