"""A visual question-answering model that describes a structure, from the hub or a folder. Optional, loaded lazily."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vlseg.models.device import resolve_device
from vlseg.records import InputError

Ask = Callable[[NDArray[np.uint8], str], str]


def load_vqa(source: str, *, revision: str | None = None, device: str = "auto") -> Ask:
    """A function from (image (H, W, 3) uint8, question) to a short answer in lower case.

    Any model of transformers for visual question answering: those that choose from a list of answers (ViLT) and
    those that write one (BLIP).

    Args:
        source: hub id or folder.
        revision: of a hub id.
        device: auto, cpu, cuda or mps.

    Raises:
        InputError: no such folder, not downloadable, or no model of this kind.
    """
    from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor

    where = resolve_device(device)
    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision)
        model = AutoModelForVisualQuestionAnswering.from_pretrained(source, revision=revision).to(where).eval()
    except (OSError, ValueError, KeyError) as error:
        kind = "is incomplete or no question-answering model" if Path(source).is_dir() else "cannot be had here"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--vqa: '{source}' {kind} ({first}); give a folder with config.json, weights and processor files"
        ) from error

    def ask(image: NDArray[np.uint8], question: str) -> str:
        inputs = processor(Image.fromarray(image), question, return_tensors="pt").to(where)
        with torch.inference_mode():
            if model.can_generate():
                written = model.generate(**inputs, max_new_tokens=10, do_sample=False)
                return str(processor.decode(written[0], skip_special_tokens=True)).strip().lower()
            best = int(model(**inputs).logits[0].argmax())
        return str(model.config.id2label[best]).strip().lower()

    return ask
