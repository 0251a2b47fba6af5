"""Through `vlseg serve`'s app: the first mask on an image and the next prompt, asked over HTTP on this machine.

A real uvicorn on loopback answers `vlseg.Client`; what stands against it calls transformers in the program itself and
so pays for no HTTP, no upload of a PNG and no mask as PNG.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from peers import WORDS, model_and_processor, transformers_answer
from PIL import Image
from torch import Tensor

import vlseg
from vlseg.evaluation import Predictor
from vlseg.serve import Access, create_app
from vlseg.serve.limits import Limits
from vlseg.serve.logs import uvicorn_settings

TOKEN = "bench-" + "t" * 26


@dataclass(frozen=True)
class Work:
    """One row: what is called on either side, and pixels of the served mask unlike a predictor's."""

    name: str
    mine: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: Callable[[], int]


@contextmanager
def served(predictor: Predictor, limits: Limits | None = None) -> Iterator[str]:
    """The address of a server that answers from this process."""
    app = create_app({"clipseg": predictor}, access=Access(TOKEN), limits=limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, **{**uvicorn_settings(Limits()), "log_config": None, "access_log": False})
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def works(picture: Path, device: str) -> Iterator[list[Work]]:
    """The rows; the server lives as long."""
    model, processor = model_and_processor(device)
    image = Image.open(picture).convert("RGB")
    predictor = Predictor(model, device=device)
    count = iter(range(10**6))

    def theirs() -> Tensor:
        return transformers_answer(model, processor, image, [WORDS])

    with served(predictor) as address, vlseg.Client(address, token=TOKEN) as client:
        known = client.upload(picture)

        def first() -> None:
            kept = client.upload(picture)
            kept.segment(WORDS)
            kept.delete()

        def again() -> None:
            known.segment(f"lesion {next(count)} at the left")

        def difference() -> int:
            """Pixels of the mask that are not those of a predictor of its own."""
            (result,) = client.segment(picture, WORDS).results
            (own,) = Predictor(model, device=device).segment(picture, [WORDS])
            return int(np.count_nonzero(own.mask != result.mask))

        yield [
            Work("first mask on a new image, over HTTP", first, theirs, difference),
            Work("next prompt on a known image, over HTTP", again, theirs, difference),
        ]
