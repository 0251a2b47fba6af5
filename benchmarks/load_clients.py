"""Clients of a server that know the right answer to all they ask; `serving_load.py` sends them, many at once.

Each has images of its own, in a session of its own. It uploads, asks prompts about what is kept, asks about an image
in one request, deletes, and compares every mask with what a `Predictor` in peace gave for that image and prompt.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import numpy as np
from numpy.typing import NDArray

from vlseg.client import Answer, Client, ServerError, StoredImage
from vlseg.evaluation import Predictor
from vlseg.serve.engine import hundredths
from vlseg.serve.logs import logged_path

MOVES = ("upload", "prompt", "prompt", "upload", "prompt", "one_shot", "prompt", "delete", "prompt", "delete")
"""What a client does, again and again: the same mix for one alone as for many."""
ANSWERS = ("upload", "prompt", "one_shot")
PATIENCE = 600.0
APART = 0.01
"""The least share of pixels by which two answers must differ, so that one in the place of the other is seen."""


@dataclass(frozen=True)
class Want:
    """A prompt about an image, and what a predictor alone answers: (H, W) uint8, 100 p rounded up."""

    prompt: str
    level: int
    hundredths: NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """An image file and what may be asked about it."""

    content: bytes
    wants: tuple[Want, ...]


def cases(predictor: Predictor, images: Iterable[Path], prompts: Sequence[str], count: int, each: int) -> list[Case]:
    """The first `count` of the images about which `each` of the prompts have answers that no other question here has.

    The threshold of each question, in hundredths, is the middle of its own answer.

    Raises:
        ValueError: the images are not enough.
    """
    found: list[Case] = []
    seen: list[Want] = []
    for number, path in enumerate(images):
        if len(found) == count:
            return found
        wants: list[Want] = []
        for prompt in [*prompts[number % len(prompts) :], *prompts[: number % len(prompts)]]:
            (one,) = predictor.segment(path, [prompt])
            told = hundredths(one.probability)
            want = Want(prompt, (int(told.min()) + int(told.max())) // 2, told)
            others = seen + list(map(_coarse, wants))
            if np.ptp(told) > 2 and min(apart(_coarse(want), others), default=1.0) >= APART:
                wants.append(want)
            if len(wants) == each:
                break
        if len(wants) == each:
            seen += map(_coarse, wants)
            found.append(Case(path.read_bytes(), tuple(wants)))
    if len(found) < count:
        raise ValueError(f"only {len(found)} of {count} images have {each} answers that are like no other")
    return found


def unlike(
    want: Want, level: int, mask: NDArray[np.bool_], probability: NDArray[np.uint8] | None = None
) -> NDArray[np.bool_]:
    """(H, W) where an answer is not the wanted one, whatever was rounded.

    In a batch sums are taken in another order, and probabilities differ in their last digits. A map may so be one
    hundredth off. A mask may differ where the probability is beside the threshold: those two hundredths do not count.
    """
    right = want.hundredths
    if mask.shape != right.shape or (probability is not None and probability.shape != right.shape):
        return np.ones(right.shape, dtype=bool)
    wrong = (mask != (right > level)) & (right != level) & (right != level + 1)
    if probability is not None:
        wrong |= (np.abs(probability.astype(np.int16) - right) > 1) | (mask != (probability > level))
    return wrong


def apart(want: Want, others: Iterable[Want]) -> list[float]:
    """For each other answer the share of pixels by which `unlike` sees it in this one's place, or this one in its.

    From the mask alone, at the threshold of the question: neither prompt nor threshold in the answer helps.
    """

    def seen(one: Want, two: Want) -> float:
        return float(unlike(one, one.level, two.hundredths > one.level).mean())

    return [min(seen(want, other), seen(other, want)) for other in others]


def nearest(found: Iterable[Case]) -> float:
    """The least of `apart` over all pairs of questions."""
    wants = [_coarse(want) for case in found for want in case.wants]
    return min(share for number, want in enumerate(wants) for share in apart(want, wants[:number]))


def _coarse(want: Want) -> Want:
    """Every fourth pixel: thousands of pairs are compared."""
    return replace(want, hundredths=want.hundredths[::4, ::4])


@dataclass
class Told:
    """What clients saw.

    Attributes:
        requests: answers of the server by method, route and status.
        seconds: by move, from asking to the answer, waiting for a place included.
        prompts: that were answered.
        lost: answers that are errors other than 429, also where the client asks again by itself; requests without an
            answer, and those refused for longer than a client waits.
        mixed_up: answers that were not those to what was asked.
        impatient: requests that came before the server's Retry-After, and refusals that told none.
        end: when the last move ended.
    """

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {move: [] for move in (*ANSWERS, "delete")})
    prompts: int = 0
    lost: list[str] = field(default_factory=list)
    mixed_up: list[str] = field(default_factory=list)
    impatient: int = 0
    end: float = 0.0

    @property
    def answers(self) -> int:
        """Uploads, prompts and one-shots that were answered."""
        return sum(len(self.seconds[move]) for move in ANSWERS)

    def add(self, other: "Told") -> None:
        """What another client saw."""
        self.requests += other.requests
        for move, seconds in other.seconds.items():
            self.seconds[move] += seconds
        self.prompts += other.prompts
        self.lost += other.lost
        self.mixed_up += other.mixed_up
        self.impatient += other.impatient
        self.end = max(self.end, other.end)


class _Counting(httpx2.BaseTransport):
    """The network; every answer is counted, those included that `vlseg.Client` deals with by itself."""

    def __init__(self, told: Told) -> None:
        self.told, self.network, self.not_before = told, httpx2.HTTPTransport(verify=False), 0.0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.told.impatient += time.monotonic() < self.not_before
        response = self.network.handle_request(request)
        self.told.requests[request.method, logged_path(request.url.path), response.status_code] += 1
        if response.status_code >= 400 and response.status_code != 429:
            self.told.lost.append(f"{request.method} {logged_path(request.url.path)}: {response.status_code}")
        if response.status_code == 429:
            wait = response.headers.get("Retry-After", "")
            self.told.impatient += not wait.isdigit()
            self.not_before = time.monotonic() + int(wait or 0)
        return response

    def close(self) -> None:
        self.network.close()


class Visitor:
    """One client with images of its own."""

    def __init__(self, address: str, own: Sequence[Case], seed: int) -> None:
        self.told, self.own, self.chance = Told(), own, random.Random(seed)
        self.moves = MOVES[seed % len(MOVES) :] + MOVES[: seed % len(MOVES)]  # all kinds come together from the start
        self.client = Client(address, patience=PATIENCE, transport=_Counting(self.told))
        self.kept: list[tuple[StoredImage, Case]] = []

    def stay(self, until: float) -> Told:
        """Moves until the time is over; then all that was kept is deleted."""
        with self.client:
            for move in itertools.cycle(self.moves):
                if time.monotonic() >= until:
                    break
                self._make(move)
            self.told.end = time.monotonic()
            while self.kept:
                self._make("delete")
        return self.told

    def _make(self, move: str) -> None:
        if move in ("prompt", "delete") and not self.kept:
            return  # it began in the middle; or the upload was lost, and is counted there
        begin = time.monotonic()
        try:
            getattr(self, f"_{move}")()
        except (ServerError, httpx2.HTTPError) as error:
            if not isinstance(error, ServerError) or error.status in (0, 429):  # others are counted where they arrive
                self.told.lost.append(f"{move}: {type(error).__name__}: {error}")
        else:
            self.told.seconds[move].append(time.monotonic() - begin)

    def _upload(self) -> None:
        case = self.chance.choice(self.own)
        self.kept.append((self.client.upload(case.content), case))

    def _prompt(self) -> None:
        stored, case = self.chance.choice(self.kept)
        self._ask(stored.segment, [self.chance.choice(case.wants)])

    def _one_shot(self) -> None:
        case = self.chance.choice(self.own)

        def ask(prompts: Sequence[str], *, threshold: float, probability: bool) -> Answer:
            return self.client.segment(case.content, prompts, threshold=threshold, probability=probability)

        self._ask(ask, self.chance.sample(case.wants, min(2, len(case.wants))))

    def _delete(self) -> None:
        stored, _ = self.kept.pop(0)
        stored.delete()

    def _ask(self, ask: Callable[..., Answer], wants: Sequence[Want]) -> None:
        level, probability = wants[0].level, self.chance.random() < 0.5
        answer = ask([want.prompt for want in wants], threshold=level / 100, probability=probability)
        self.told.prompts += len(answer.results)
        if [result.prompt for result in answer.results] != [want.prompt for want in wants]:
            self.told.mixed_up.append("other prompts are answered than were asked")
            return
        for result, want in zip(answer.results, wants, strict=True):
            wrong = unlike(want, level, result.mask, result.hundredths)
            told = (result.threshold, result.area_px, result.hundredths is not None)
            if wrong.any():
                self.told.mixed_up.append(f"{wrong.mean():.1%} of the pixels are not those of '{want.prompt}'")
            elif told != (level / 100, np.count_nonzero(result.mask), probability):
                self.told.mixed_up.append(f"an answer at {level / 100} says of itself {told}")


def sent(address: str, own: Sequence[Sequence[Case]], seconds: float) -> tuple[Told, float]:
    """What so many clients saw, each with cases of its own, and the seconds from their start to their last move."""
    visitors = [Visitor(address, mine, seed) for seed, mine in enumerate(own)]
    told, begin = Told(), time.monotonic()
    with ThreadPoolExecutor(len(own)) as threads:
        for one in threads.map(lambda visitor: visitor.stay(begin + seconds), visitors):
            told.add(one)
    return told, told.end - begin
