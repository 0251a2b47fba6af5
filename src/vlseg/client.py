"""vlseg.Client: asks a server that `vlseg serve` started. Needs no torch."""

import base64
import io
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.client_answers import Answer, Familiar, Result, ServerError, answer_of, familiar_of

ImageLike = str | Path | bytes | Image.Image | NDArray[np.uint8]
AGAIN = (429, 503)

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
        return answer_of(self._client.ask("POST", f"/v1/images/{self.id}/segment", json=asked).json())

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
        kept = self._client.ask("POST", "/v1/corrections", json=asked).json()
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
        sent = self.ask("POST", "/v1/segment", files={"image": ("image", _content(image))}, data=fields)
        return answer_of(sent.json())

    def upload(self, image: ImageLike, *, model: str | None = None) -> StoredImage:
        """Has the server keep an image for further prompts, encoded for `model`."""
        sent = self.ask("POST", "/v1/images", files={"image": ("image", _content(image))}, data=_options(model, None))
        return StoredImage(self, sent.json())

    def models(self) -> list[dict[str, Any]]:
        """The server's models, as GET /v1/models tells them."""
        found: list[dict[str, Any]] = self.ask("GET", "/v1/models").json()["models"]
        return found

    def words(self, model: str) -> dict[str, list[str]]:
        """Words and prompts of a model's training."""
        found: dict[str, list[str]] = self.ask("GET", f"/v1/models/{model}/words").json()
        return found

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
        return ServerError(answer.status_code, "no_vlseg", "url: what answers there is no vlseg server")


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
    buffer = io.BytesIO()
    try:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        picture.save(buffer, format="PNG", compress_level=1)
    except (OSError, TypeError, ValueError) as error:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else f"mode {image.mode}"
        raise ValueError(f"image: {what} is no image; give uint8, (H, W) or (H, W, 3)") from error
    return buffer.getvalue()


def _mask_text(mask: NDArray[np.bool_]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, dtype=bool)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
