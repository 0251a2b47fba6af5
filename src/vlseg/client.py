"""vlseg.Client: asks a server that `vlseg serve` started. Needs no torch."""

import base64
import io
import ipaddress
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.client_answers import Answer, Familiar, Result, ServerError, answer_of, familiar_of

ImageLike = str | Path | bytes | Image.Image | NDArray[np.uint8]
AGAIN = (429, 503)
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""Of PIL images, those that PNG holds as they are."""
DEEP_MODES = frozenset({"I", "F"})
"""Those that no file of 8 or 16 bits holds."""

__all__ = ["Answer", "Client", "Familiar", "Result", "ServerError", "StoredImage"]


class StoredImage:
    """An image that the server keeps for a while: another prompt about it costs the text and the decoder only."""

    def __init__(self, client: "Client", values: Mapping[str, Any]) -> None:
        self._client = client
        self.id: str = values["id"]
        self.width: int = values["width"]
        self.height: int = values["height"]
        self.expires_in_s: float = values["expires_in_s"]
        self.familiar = familiar_of(values["familiar"])

    def segment(
        self,
        prompts: str | Sequence[str],
        *,
        model: str | None = None,
        threshold: float | None = None,
        probability: bool = False,
    ) -> Answer:
        """Masks for one or many prompts; the arguments are those of `Client.segment`."""
        asked = {"prompts": _listed(prompts), **_options(model, threshold), "probability": probability}
        return answer_of(self._client.told("POST", f"/v1/images/{self.id}/segment", json=asked))

    def export(
        self,
        what: Literal["masks", "coco", "overlay", "session"],
        masks: Mapping[str, NDArray[np.bool_]],
        colours: Mapping[str, str] | None = None,
    ) -> bytes:
        """A file of masks (H, W) by prompt: a zip, COCO's JSON, a PNG, or the session's JSON.

        Args:
            what: which file.
            masks: by prompt.
            colours: "#rrggbb" by prompt, for the overlay.
        """
        colours = colours or {}
        items = [
            {"prompt": prompt, "mask": _mask_text(mask), **({"colour": colours[prompt]} if prompt in colours else {})}
            for prompt, mask in masks.items()
        ]
        return self._client.ask("POST", f"/v1/images/{self.id}/export", json={"what": what, "items": items}).content

    def correct(
        self, masks: Mapping[tuple[str, str], NDArray[np.bool_]], *, patient: str = "unknown"
    ) -> tuple[list[str], str]:
        """Adds masks, by prompt and target, to the server's corrections; the samples' ids and the dataset's folder.

        Args:
            masks: (H, W) bool by (prompt, target).
            patient: a pseudonym: images of one patient stay in one split.
        """
        items = [
            {"prompt": prompt, "target": target, "mask": _mask_text(mask)} for (prompt, target), mask in masks.items()
        ]
        asked = {"image_id": self.id, "items": items, "patient": patient}
        kept = self._client.told("POST", "/v1/corrections", json=asked)
        return kept["sample_ids"], kept["dataset"]

    def delete(self) -> None:
        """Makes the server forget it."""
        self._client.ask("DELETE", f"/v1/images/{self.id}")


class Client:
    """A session with a server.

    Args:
        url: as `vlseg serve` prints it, with its token, or without.
        token: where the address has none.
        timeout: seconds for one request.
        patience: seconds for which a request is repeated while the server is full, as it says when to come back.
        verify: False takes any certificate; a path to a PEM file takes those it vouches for.
        transport: another way than the network, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 120.0,
        patience: float = 60.0,
        verify: Any = True,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"url: '{url}' is no address; give one such as http://127.0.0.1:8000/?token=...")
        token = token or parse_qs(parts.query).get("token", [None])[0]
        if not token:
            raise ValueError("token: missing; give it, or the address with ?token=... that vlseg serve prints")
        self.patience = patience
        self._http = httpx2.Client(
            base_url=f"{parts.scheme}://{parts.netloc}",
            headers={"Authorization": f"Bearer {token}", "Vlseg-Session": secrets.token_urlsafe(16)},
            timeout=timeout,
            verify=verify,
            transport=transport,
            mounts=_direct(parts.hostname or ""),
        )

    def segment(
        self,
        image: ImageLike,
        prompts: str | Sequence[str],
        *,
        model: str | None = None,
        threshold: float | None = None,
        probability: bool = False,
    ) -> Answer:
        """Masks of an image for one or many prompts.

        Args:
            image: a file, its bytes, a PIL image, or an array (H, W, 3) or (H, W) uint8.
            prompts: sentences; names of targets for models that read no text.
            model: one of `models`; None = the server's default.
            threshold: on probabilities; None = the model's own.
            probability: whether `Result.hundredths` are wanted.

        Raises:
            ServerError: refused, or still full after `patience`.
        """
        fields = {**_options(model, threshold), "prompts": _listed(prompts)}
        if probability:
            fields["probability"] = "true"
        return answer_of(self.told("POST", "/v1/segment", files={"image": ("image", _content(image))}, data=fields))

    def upload(self, image: ImageLike, *, model: str | None = None) -> StoredImage:
        """Has the server keep an image for further prompts, encoded for `model`."""
        files = {"image": ("image", _content(image))}
        return StoredImage(self, self.told("POST", "/v1/images", files=files, data=_options(model, None)))

    def models(self) -> list[dict[str, Any]]:
        """The server's models, as GET /v1/models tells them."""
        found: list[dict[str, Any]] = self.told("GET", "/v1/models")["models"]
        return found

    def words(self, model: str) -> dict[str, list[str]]:
        """Words and prompts of a model's training."""
        found: dict[str, list[str]] = self.told("GET", f"/v1/models/{quote(model, safe='')}/words")
        return found

    def told(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The JSON that `ask` gets.

        Raises:
            ServerError: see `ask`; or what answers is no vlseg server.
        """
        answer = self.ask(method, path, **options)
        try:
            values = answer.json()
        except ValueError as error:
            raise _no_vlseg(answer) from error
        if not isinstance(values, dict):
            raise _no_vlseg(answer)
        return values

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request of the API; repeated while the server says that it is full.

        Raises:
            ServerError: an answer that is an error, or none (status 0).
        """
        end = time.monotonic() + self.patience
        while True:
            try:
                answer = self._http.request(method, path, **options)
            except httpx2.TransportError as error:
                raise ServerError(0, "no_answer", _unheard(self._http.base_url, error)) from error
            wait = _wait(answer)
            if wait is None or time.monotonic() + wait > end:
                break
            time.sleep(wait)
        if answer.is_success:
            return answer
        raise _error(answer)

    def close(self) -> None:
        """Closes the connections. Images stay on the server until their time is over."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wait(answer: httpx2.Response) -> float | None:
    """Seconds that the server asks to wait; None where waiting mends nothing."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if answer.status_code in AGAIN and told.isdigit() else None


def _error(answer: httpx2.Response) -> ServerError:
    try:
        told = answer.json()["error"]
        return ServerError(answer.status_code, told["code"], told["message"])
    except (ValueError, KeyError, TypeError):
        return _no_vlseg(answer)


def _no_vlseg(answer: httpx2.Response) -> ServerError:
    return ServerError(answer.status_code, "no_vlseg", "url: what answers there is no vlseg server")


def _direct(host: str) -> dict[str, None]:
    """This machine's own server is asked without the proxy that the environment names: it would get token and image."""
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    return {f"all://[{host}]" if ":" in host else f"all://{host}": None} if own else {}


def _unheard(url: httpx2.URL, error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"timeout: {url} gave no answer in time; give a longer one, or ask for less"
    return f"url: {url} does not answer ({error}); is vlseg serve running there?"


def _listed(prompts: str | Sequence[str]) -> list[str]:
    return [prompts] if isinstance(prompts, str) else list(prompts)


def _options(model: str | None, threshold: float | None) -> dict[str, Any]:
    return {key: value for key, value in (("model", model), ("threshold", threshold)) if value is not None}


def _content(image: ImageLike) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    try:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        if isinstance(image, np.ndarray) and picture.mode in DEEP_MODES:
            raise TypeError("32 bits")
    except TypeError as error:
        told = f"an array of {image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else image
        raise ValueError(f"image: {told} is no image; give uint8, (H, W) or (H, W, 3)") from error
    if picture.mode in DEEP_MODES:
        raise ValueError(f"image: has values of 32 bits (mode {picture.mode}); bring them to 8 or 16")
    if picture.mode not in PNG_MODES:
        picture = picture.convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _mask_text(mask: NDArray[np.bool_]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, dtype=bool)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
