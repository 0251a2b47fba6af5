"""A model behind a queue: images encoded and prompts answered in batches, on one thread for each device."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from vlseg.data import unit_range
from vlseg.evaluation import Prediction, Predictor
from vlseg.evaluation.familiarity import State
from vlseg.evaluation.predict import Question, answer_rows, encode_images, recall_prompts, recalls_prompts
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Rows
from vlseg.models.features import SIZE_KEY
from vlseg.serve.batching import Batcher, Bounds
from vlseg.serve.gate import LONGEST_RETRY
from vlseg.serve.limits import Refused

ENCODE = Bounds(rows=8, pixels=32_000_000)
DECODE = Bounds(rows=16, pixels=128_000_000)
PROMPT_BYTES = 4 * 2**20
"""Of prompt features that are remembered for a session and model."""
HUNDREDTHS = np.array([k / 100 for k in range(100)], dtype=np.float32)

Known = dict[str, Rows]
"""Features of prompts that a session asked before."""


@dataclass(frozen=True)
class Familiar:
    """Whether an image is like those of the training: "usual", "unlike", or "unknown" where nothing is stored."""

    state: State = "unknown"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """An image as the model sees it: features and size, one row each, on the device of one of the engine's places."""

    features: ImageFeatures
    size: Inputs
    pixels: int
    familiar: Familiar
    place: int = 0

    @property
    def nbytes(self) -> int:
        """Of the tensors."""
        return sum(tensor.nbytes for rows in (self.features, self.size) for tensor in rows.tensors.values())


@dataclass(frozen=True)
class Found:
    """The answer to one prompt.

    Attributes:
        mask: (H, W) bool.
        hundredths: (H, W) uint8 where asked for, see `hundredths`.
        presence: the model's raw score in [0, 1], None where it has none.
        finite: whether all probabilities are numbers; the mask is empty where they are not.
    """

    prompt: str
    threshold: float
    mask: np.ndarray
    hundredths: np.ndarray | None
    presence: float | None
    finite: bool


@dataclass(frozen=True)
class _Ask:
    encoded: Encoded
    prompts: Sequence[str]
    threshold: float
    probability: bool
    known: Known


class Engine:
    """One model, asked by many at once; on several devices, a copy on each.

    A request that is alone gets what `Predictor.segment` gives, to the bit. In a batch with others the sums of a
    matrix product may be taken in another order: probabilities then differ by rounding. `patience`: seconds of waiting
    work beyond which no image is taken.
    """

    def __init__(
        self,
        places: Sequence[tuple[Predictor, Executor]],
        *,
        crowd: Callable[[], int] = lambda: 1,
        seen: Callable[[str, int], None] = lambda step, count: None,
        patience: float = math.inf,
    ) -> None:
        self.predictor = places[0][0]
        self.digest = self.predictor.digest
        self.patience = patience
        self._places = [_Place(number, *place, crowd, seen) for number, place in enumerate(places)]

    def check_room(self) -> None:
        """Asked before an image is decoded, which costs something, too.

        Raises:
            Refused: what waits already takes longer than `patience`, by what it took before (429).
        """
        place = self._freest()
        ahead = place.encode.ahead + place.decode.ahead
        if ahead > self.patience:
            told = "the server has as much to do as it can in time; try again later"
            # Not before there is room for many: who asks again sends the image again.
            seconds = math.ceil(max(ahead - self.patience, ahead / 2))
            raise Refused(429, "overloaded", told, retry_after=min(LONGEST_RETRY, seconds))

    def _freest(self) -> "_Place":
        return min(self._places, key=lambda one: one.busy)

    async def encode(self, pixels: np.ndarray) -> Encoded:
        """The features of an image (H, W, 3), uint8 or float32 in [0, 1], on the device with the least to do.

        Raises:
            Refused: see `check_room`.
        """
        self.check_room()
        place = self._freest()
        place.busy += 1
        try:
            return await place.encode(pixels, rows=1, pixels=pixels.shape[0] * pixels.shape[1])
        finally:
            place.busy -= 1

    async def answer(
        self,
        encoded: Encoded,
        prompts: Sequence[str],
        *,
        threshold: float | None = None,
        probability: bool = False,
        known: Known | None = None,
    ) -> list[Found]:
        """One answer per prompt, in order.

        Args:
            encoded: of this engine.
            prompts: that the model can answer.
            threshold: on probabilities; None = the predictor's.
            probability: whether `hundredths` are wanted.
            known: the session's prompt features of the place, which are used and added to; the place's thread alone
                touches it.
        """
        limit = self.predictor.threshold if threshold is None else threshold
        ask = _Ask(encoded, prompts, limit, probability, {} if known is None else known)
        place = self._places[encoded.place]
        place.busy += 1
        try:
            return await place.decode(ask, rows=len(prompts), pixels=len(prompts) * encoded.pixels)
        finally:
            place.busy -= 1


class _Place:
    """A predictor on its device, whose thread does one batch at a time; `busy` counts requests."""

    def __init__(
        self,
        number: int,
        predictor: Predictor,
        worker: Executor,
        crowd: Callable[[], int],
        seen: Callable[[str, int], None],
    ) -> None:
        self.number, self.predictor, self.busy = number, predictor, 0
        self._remembers = recalls_prompts(predictor.model)
        self.encode = Batcher(self._encode_batch, worker, ENCODE, crowd=crowd, seen=partial(seen, "encode"))
        self.decode = Batcher(
            self._decode_batch,
            worker,
            DECODE,
            crowd=crowd,
            seen=partial(seen, "decode"),
            beside=lambda: self.encode.row_seconds,
        )

    def _encode_batch(self, images: Sequence[np.ndarray]) -> list[Encoded]:
        predictor = self.predictor
        scaled = [unit_range(pixels) for pixels in images]
        features, inputs = encode_images(
            predictor.model, scaled, device=predictor.device, precision=predictor.precision
        )
        sizes = Inputs({SIZE_KEY: inputs.tensors[SIZE_KEY]})
        found = []
        for row, pixels in enumerate(scaled):
            one, area = features[[row]], pixels.shape[0] * pixels.shape[1]
            found.append(Encoded(one, sizes[[row]], area, self._familiar(pixels, one), self.number))
        return found

    def _familiar(self, pixels: np.ndarray, features: ImageFeatures) -> Familiar:
        if self.predictor.familiarity is None:
            return Familiar()
        verdict = self.predictor.familiarity.judge(pixels, features)
        return Familiar(verdict.state, verdict.reasons)

    def _decode_batch(self, asks: Sequence[_Ask]) -> list[list[Found]]:
        predictor = self.predictor
        asked = [(row, ask, prompt) for row, ask in enumerate(asks) for prompt in ask.prompts]
        predictions = answer_rows(
            predictor.model,
            Rows.join([ask.encoded.features for ask in asks]),
            Rows.join([ask.encoded.size for ask in asks]),
            [Question(row, prompt, ask.threshold) for row, ask, prompt in asked],
            device=predictor.device,
            precision=predictor.precision,
            encode=_Recalling(predictor, [ask.known for _, ask, _ in asked]) if self._remembers else None,
        )
        found: list[list[Found]] = [[] for _ in asks]
        for (row, ask, prompt), prediction in zip(asked, predictions, strict=True):
            found[row].append(_found(ask, prompt, prediction))
        for ask in asks:
            _forget(ask.known)
        return found


class _Recalling:
    """Features of a batch's prompts, each from the memory of the session that asks; new ones encoded together."""

    def __init__(self, predictor: Predictor, memories: Sequence[Known]) -> None:
        self.predictor, self.memories = predictor, list(memories)

    def __call__(self, prompts: Sequence[str]) -> PromptFeatures:
        """Of the next prompts of the batch."""
        mine, self.memories = self.memories[: len(prompts)], self.memories[len(prompts) :]
        pairs = list(zip(prompts, mine, strict=True))
        fresh: Known = {}
        new = [prompt for prompt, known in pairs if prompt not in known]
        if new:
            recall_prompts(self.predictor.model, new, fresh, self.predictor.device)
        # What one session asked before is no faster for another: nobody learns so what others ask.
        return Rows.join(
            [known[prompt] if prompt in known else known.setdefault(prompt, fresh[prompt]) for prompt, known in pairs]
        )


def _found(ask: _Ask, prompt: str, prediction: Prediction) -> Found:
    probability = prediction.probability
    finite = bool(np.isfinite(probability).all())
    shown = hundredths(probability if finite else np.nan_to_num(probability)) if ask.probability else None
    presence = prediction.presence
    score = presence if presence is not None and math.isfinite(presence) else None
    return Found(prompt, ask.threshold, prediction.mask, shown, score, finite)


def hundredths(probability: np.ndarray) -> np.ndarray:
    """How many of the thresholds 0, 0.01, ..., 0.99 each probability is above, uint8: `> k` is exactly `p > k / 100`.

    That is 100 p rounded up, with thresholds in float32 as the mask's comparison has them.
    """
    found = np.clip(np.ceil(probability * np.float32(100)), 0, 100).astype(np.uint8)
    low = np.maximum(found, 1) - 1
    # The product is rounded: beside a threshold it may fall on its other side.
    found -= (found > 0) & (probability <= HUNDREDTHS[low])
    found += (found < 100) & (probability > HUNDREDTHS[np.minimum(found, 99)])
    return found


def _forget(known: Known) -> None:
    """The oldest, beyond what is remembered."""
    size = sum(tensor.nbytes for rows in known.values() for tensor in rows.tensors.values())
    while size > PROMPT_BYTES and len(known) > 1:
        gone = known.pop(next(iter(known)))
        size -= sum(tensor.nbytes for tensor in gone.tensors.values())
