"""A server over tiny models, and what tests send it."""

import asyncio
import base64
import io
from collections.abc import Mapping
from typing import Any

import httpx2
import numpy as np
from fastapi import FastAPI
from PIL import Image
from tiny_models import made

from vlseg.evaluation import Predictor
from vlseg.serve import Access, create_app

TOKEN = "tests-" + "t" * 24
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
SIZE = (40, 50)


def predictor(name: str = "clipseg-tiny", **more: Any) -> Predictor:
    return Predictor(made(name), device="cpu", **more)


def app_of(models: Mapping[str, Predictor] | None = None, **more: Any) -> FastAPI:
    return create_app(models or {"tiny": predictor()}, access=Access(TOKEN), **more)


def asking(app: FastAPI, session: str = "one") -> httpx2.AsyncClient:
    """A client of the app in this process, in a session of its own."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://localhost",
        headers={**HEADERS, "Vlseg-Session": session},
        timeout=60,
    )


def pixels(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8: a disc in noise, another one for each seed."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: size[0], : size[1]]
    disc = np.hypot(yy - rng.uniform(10, size[0] - 10), xx - rng.uniform(10, size[1] - 10)) < rng.uniform(5, 10)
    noise = rng.normal(100, 25, (*size, 3)) + 90 * disc[..., None] * rng.uniform(-1, 1, 3)
    return np.clip(noise, 0, 255).astype(np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def picture(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def mask_text(mask: np.ndarray) -> str:
    return base64.b64encode(png(mask)).decode()


async def uploaded(client: httpx2.AsyncClient, seed: int = 0, **fields: str) -> str:
    """The id of an image that the server keeps."""
    answer = await client.post("/v1/images", files={"image": ("a.png", png(pixels(seed)))}, data=fields)
    assert answer.status_code == 201, answer.text
    kept: str = answer.json()["id"]
    return kept


def run(work: Any) -> Any:
    """The result of a coroutine."""
    return asyncio.run(work)
