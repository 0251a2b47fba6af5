"""The tools that agents call: segment, list_models, probe. Nothing here knows the protocol."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlseg.serve import schemas
from vlseg.serve.about import models_of
from vlseg.serve.agent_files import Folders, read_image_file, write_mask
from vlseg.serve.agent_probe import ON_IMAGE, compared, in_words, other_wordings, stored_probes
from vlseg.serve.agent_schemas import (
    MaskFound,
    ModelsTold,
    ModelTold,
    OnThisImage,
    ProbeArguments,
    Probed,
    SegmentArguments,
    Segmented,
)
from vlseg.serve.engine import Encoded, Found
from vlseg.serve.limits import Refused
from vlseg.serve.pictures import NOTICE
from vlseg.serve.serving import ANSWER_PIXELS, Serving, familiar_values, results_of
from vlseg.serve.uploads import Upload

PROMPTS_TOLD = 20


@dataclass
class Tools:
    """The tools of one server.

    Attributes:
        serving: the models, behind their queues.
        sources: where each model was loaded from.
        folders: what may be read and written.
    """

    serving: Serving
    sources: Mapping[str, str]
    folders: Folders
    _last: tuple[tuple[str, str], Upload, Encoded] | None = field(default=None, repr=False)

    async def list_models(self) -> ModelsTold:
        """The models, what they take, and the folders."""
        engines = self.serving.engines
        vocabularies = {name: engine.predictor.vocabulary for name, engine in engines.items()}
        prompts = {name: list(one.prompts[:PROMPTS_TOLD]) if one else [] for name, one in vocabularies.items()}
        return ModelsTold(
            notice=NOTICE,
            models=[ModelTold(**one.model_dump(), prompts=prompts[one.name]) for one in models_of(self.serving)],
            readable=[str(folder) for folder in self.folders.readable],
            written=None if self.folders.written is None else str(self.folders.written),
        )

    async def segment(self, asked: SegmentArguments) -> tuple[Segmented, list[bytes]]:
        """The answer, and the masks that it shows, as PNG.

        Raises:
            Refused: what is wrong, in one line.
            InputError: a mask cannot be written.
        """
        if asked.write_masks and self.folders.written is None:
            line = "write_masks: this server may write nowhere; the user allows a folder with vlseg mcp --out DIR"
            raise Refused(403, "nothing_written", line)
        name, engine = self.serving.engine(asked.model)
        upload, encoded = await self._encoded(name, asked.image, asked.image_base64)
        height, width = upload.pixels.shape[:2]
        prompts = self.serving.asked(asked.prompts, engine.predictor, (height, width))
        found = await engine.answer(encoded, prompts, threshold=asked.threshold)
        results = await self.serving.aside(results_of, engine.predictor, encoded.familiar, upload.spacing_mm, found)
        pictures = [base64.b64decode(result.mask) for result in results]
        files = [
            await self.serving.aside(write_mask, self.folders, asked.image or "", result.prompt, picture)
            if asked.write_masks
            else None
            for result, picture in zip(results, pictures, strict=True)
        ]
        answer = Segmented(
            notice=NOTICE,
            model=name,
            digest=engine.digest,
            width=width,
            height=height,
            familiar=familiar_values(encoded.familiar),
            results=[
                _mask_found(result, one, number if asked.show_masks else None, None if file is None else str(file))
                for number, (result, one, file) in enumerate(zip(results, found, files, strict=True))
            ],
        )
        return answer, pictures if asked.show_masks else []

    async def probe(self, asked: ProbeArguments) -> Probed:
        """How the mask changes with the words, and what `vlseg probe` stored.

        Raises:
            Refused: what is wrong, in one line.
        """
        name, engine = self.serving.engine(asked.model)
        predictor = engine.predictor
        upload, encoded = await self._encoded(name, asked.image, asked.image_base64)
        height, width = upload.pixels.shape[:2]
        # The empty prompt is not one that can be typed, but what the probe asks on its own.
        self.serving.asked([asked.prompt, *asked.others], predictor, (height, width))
        wordings = other_wordings(predictor, asked.prompt, asked.others)
        if (len(wordings) + 1) * height * width > ANSWER_PIXELS:
            line = f"image: {width} x {height} is too large for {len(wordings) + 1} masks at once; make it smaller"
            raise Refused(413, "too_much_at_once", line)
        own, *others = await engine.answer(
            encoded, [asked.prompt, *(text for _, _, text in wordings)], threshold=asked.threshold
        )
        told = compared(own, others, wordings)
        area = int(np.count_nonzero(own.mask))
        stored, none = await self.serving.aside(stored_probes, self.sources[name], engine.digest)
        return Probed(
            notice=NOTICE,
            model=name,
            digest=engine.digest,
            on_this_image=OnThisImage(
                what=ON_IMAGE,
                prompt=asked.prompt,
                area_px=area,
                familiar=familiar_values(encoded.familiar),
                asked=told,
                says=in_words(area, told, reads_text=predictor.model.spec.uses_text),
            ),
            on_a_test_split=stored,
            no_test_split=none,
        )

    async def _encoded(self, model: str, path: str | None, content: str | None) -> tuple[Upload, Encoded]:
        """The image; that of the last call is not encoded again."""
        if (path is None) == (content is None):
            raise Refused(422, "one_image", "image: give either image (a path) or image_base64")
        most = self.serving.limits.bytes
        if path is not None:
            data = await self.serving.aside(read_image_file, self.folders, path, most)
        else:
            data = await self.serving.aside(_from_base64, content or "", most)
        engine = self.serving.engines[model]
        key = (model, hashlib.sha256(data).hexdigest())
        last = self._last
        if last is None or last[0] != key:
            upload = await self.serving.read(data, engine.predictor)
            last = key, upload, await engine.encode(upload.pixels)
            self._last = last
        return last[1], last[2]


def _from_base64(text: str, most: int) -> bytes:
    body = re.sub(r"\s+", "", text.partition(",")[2] if text.startswith("data:") else text)
    if len(body) > most * 4 // 3 + 4:
        raise Refused(413, "too_large", f"image_base64: has more than {most} bytes; make the image smaller")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, "not_base64", "image_base64: is no base64; give a file's content, or image") from error


def _mask_found(result: schemas.Result, found: Found, picture: int | None, file: str | None) -> MaskFound:
    values = result.model_dump(exclude={"mask", "probability"})
    return MaskFound(**values, box=_box(found.mask), picture=picture, file=file)


def _box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
