"""Models as graphs, held against the models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlseg.models import Segmenter, as_module, load_model
from vlseg.models.exported.run import config_digest
from vlseg.models.exported.segmenter import Exported
from vlseg.models.exported.write import write_exported
from vlseg.models.protocol import PromptFeatures

PROMPTS = ("", "a polyp", "one small round lesion at the top left", "Zyste, 12 mm (½) à gauche!", "many words " * 90)
BATCHES = (1, 2, 5)
ENGINES = ("onnx", "openvino")


def exported(model: Segmenter, folder: Path) -> Path:
    """The folder with the model's graphs."""
    folder.mkdir(parents=True)
    write_exported(model, folder)
    return folder


def opened(folder: Path, engine: str, **arguments: Any) -> Exported:
    """The graphs of a folder, as every command gets them."""
    found = load_model(str(folder), arguments={"engine": engine, **arguments})
    assert isinstance(found, Exported)
    assert found.spec.engine == engine
    return found


def images(count: int) -> list[Tensor]:
    """Noise of different sizes, none of them a network's."""
    generator = torch.Generator().manual_seed(count)
    return [torch.rand(3, 41 + 17 * number, 130 - 19 * number, generator=generator) for number in range(count)]


def asked(model: Segmenter, count: int) -> list[str]:
    """As many prompts, or names of targets."""
    known: Sequence[str] = PROMPTS if model.spec.uses_text else model.spec.targets
    return [known[number % len(known)] for number in range(count)]


@torch.no_grad()
def apart(model: Segmenter, graphs: Exported) -> float:
    """How far apart model and graphs are, at worst over batches: of logits, in their standard deviations.

    Everything between is compared on the way: inputs, tokens, what is read of the image and the prompt, and the maps at
    the images' own sizes.
    """
    as_module(model).eval()
    worst = 0.0
    for batch in BATCHES:
        inputs, ours = model.prepare(images(batch)), graphs.prepare(images(batch))
        torch.testing.assert_close(ours.tensors["pixel_values"], inputs.tensors["pixel_values"], rtol=0, atol=5e-6)
        assert torch.equal(ours.tensors["original_size"], inputs.tensors["original_size"])
        tokens, told = model.tokenize(asked(model, batch)), graphs.tokenize(asked(model, batch))
        assert (tokens is None) == (told is None)
        if tokens is not None and told is not None:
            assert tokens.tensors.keys() == told.tensors.keys()
            assert all(torch.equal(tokens.tensors[name], one) for name, one in told.tensors.items())
        wanted, found = model.forward(inputs, tokens), graphs.forward(ours, told)
        assert found.logits.shape == wanted.logits.shape
        deviation = float(wanted.logits.std())
        pairs = [(wanted.logits, found.logits)]
        if wanted.presence is not None:
            assert found.presence is not None
            pairs.append((wanted.presence, found.presence))
        sizes = zip(model.restore(wanted.logits, inputs), graphs.restore(found.logits, ours), strict=True)
        if told is not None:  # prompts that were read one by one stand beside each other
            read = [graphs.encode_prompts(told[row : row + 1]) for row in range(batch)]
            joined = PromptFeatures.join([one for one in read if one is not None])
            pairs.append((wanted.logits, graphs.decode(graphs.encode_image(ours), joined).logits))
        worst = max(worst, *(float((a - b).abs().max()) / deviation for a, b in [*pairs, *sizes]))
    return worst


def retold(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json with the digest of what it says now, as whoever made the folder could."""
    config["vlseg"]["digest"] = config_digest(config["vlseg"])
    (folder / "config.json").write_text(json.dumps(config))
