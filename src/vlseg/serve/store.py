"""Images of the sessions, in memory only: bounded in number, bytes and time."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vlseg.evaluation import Predictor
from vlseg.records import IntensityPolicy
from vlseg.serve.engine import Encoded, Known
from vlseg.serve.limits import Limits, Refused

MEMORY = 4 * 2**30
"""Bytes of all sessions' images and features."""


@dataclass
class Stored:
    """An image of a session, with its features by model.

    Attributes:
        id: 128 random bits.
        pixels: (H, W, 3) uint8, or float32 in [0, 1].
        spacing_mm: (y, x), or None.
        used: when it was last asked for.
        intensity: how it was read, if it has more than 8 bits.
    """

    id: str
    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None
    used: float
    intensity: IntensityPolicy | None = None
    encoded: dict[str, Encoded] = field(default_factory=dict)

    def check_read_for(self, predictor: Predictor) -> None:
        """Makes sure that the pixels are as this model takes them.

        Raises:
            Refused: above 8 bit, and another model's way of reading those differs (422).
        """
        if self.pixels.dtype != np.uint8 and self.intensity != predictor.intensity:
            told = (
                "model: takes images above 8 bit otherwise than the one this was uploaded for; upload it for this one"
            )
            raise Refused(422, "read_otherwise", told)

    @property
    def nbytes(self) -> int:
        """Of pixels and features."""
        return self.pixels.nbytes + sum(encoded.nbytes for encoded in self.encoded.values())

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass
class _Session:
    images: "OrderedDict[str, Stored]" = field(default_factory=OrderedDict)
    known: dict[tuple[str, int], Known] = field(default_factory=dict)


@dataclass
class Store:
    """Images by session. An image is dropped when nobody asked for it during `limits.keep_seconds`.

    A session that has its number of images loses the one it used longest ago. Where all sessions together fill the
    memory a session makes room with its own images alone, and is refused if that is not enough: others' images stay.
    All methods are for the event loop's thread.
    """

    limits: Limits
    memory: int = MEMORY
    clock: Callable[[], float] = time.monotonic
    _sessions: dict[str, _Session] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of all images and features."""
        return sum(image.nbytes for session in self._sessions.values() for image in session.images.values())

    @property
    def count(self) -> int:
        """Images of all sessions."""
        return sum(len(session.images) for session in self._sessions.values())

    def add(
        self,
        session: str,
        pixels: np.ndarray,
        spacing_mm: tuple[float, float] | None,
        encoded: dict[str, Encoded],
        intensity: IntensityPolicy | None = None,
    ) -> Stored:
        """Keeps an image.

        Raises:
            Refused: no room for it, or for another session (429).
        """
        self.sweep()
        own = self._sessions.get(session)
        if own is None and len(self._sessions) >= self.limits.sessions:
            raise Refused(429, "too_many_sessions", "session: others fill the server; try again later")
        own = own or _Session()
        image = Stored(secrets.token_urlsafe(16), pixels, spacing_mm, self.clock(), intensity, encoded)
        self._make_room(own, image.nbytes)
        while len(own.images) >= self.limits.images_per_session:
            own.images.popitem(last=False)
        own.images[image.id] = image
        self._sessions[session] = own
        return image

    def keep(self, session: str, image: Stored, model: str, encoded: Encoded) -> None:
        """Adds features of another model to an image, where there is room; else they are made again each time."""
        own = self._sessions.get(session)
        if own is not None and image.id in own.images and self.nbytes + encoded.nbytes <= self.memory:
            image.encoded[model] = encoded

    def get(self, session: str, id: str) -> Stored:
        """The session's image, whose time begins anew.

        Raises:
            Refused: it has none of that id (404), whoever else may have one.
        """
        self.sweep()
        own = self._sessions.get(session)
        image = own.images.get(id) if own else None
        if own is None or image is None:
            raise Refused(404, "no_such_image", "id: this session has no such image (any more); upload it again")
        image.used = self.clock()
        own.images.move_to_end(id)
        return image

    def drop(self, session: str, id: str) -> None:
        """Forgets an image.

        Raises:
            Refused: see `get`.
        """
        self.get(session, id)
        del self._sessions[session].images[id]
        self.sweep()

    def known(self, session: str, model: str, place: int = 0) -> Known:
        """The session's prompt features of a model's copy; of a session that keeps no images, new ones."""
        own = self._sessions.get(session)
        return {} if own is None else own.known.setdefault((model, place), {})

    def sweep(self) -> None:
        """Drops what nobody asked for in time, and sessions with their last image."""
        oldest = self.clock() - self.limits.keep_seconds
        for session in self._sessions.values():
            for image in [image for image in session.images.values() if image.used <= oldest]:
                del session.images[image.id]
        for name in [name for name, one in self._sessions.items() if not one.images]:
            del self._sessions[name]

    def clear(self) -> None:
        """Forgets everything."""
        self._sessions.clear()

    def _make_room(self, own: _Session, nbytes: int) -> None:
        taken = self.nbytes
        theirs = taken - sum(image.nbytes for image in own.images.values())
        if theirs + nbytes > self.memory:
            raise Refused(429, "memory_full", "image: the server's memory for images is full; try again later")
        while taken + nbytes > self.memory:
            taken -= own.images.popitem(last=False)[1].nbytes
