"""vlseg.Client against a server in this process, and without torch."""

import json
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import httpx2
import numpy as np
import pytest
import uvicorn
from PIL import Image
from served import TOKEN, app_of, pixels, png, predictor

import vlseg
from vlseg.client import Client, ServerError


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on a free port."""
    folder = tmp_path_factory.mktemp("served") / "corrections"
    app = app_of({"tiny": predictor(), "named": predictor("unet-target")}, corrections=folder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/?token={TOKEN}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["file", "bytes", "picture", "array", "grey"])
def test_an_image_in_any_form(address: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels()))
    grey, read = pixels()[..., 0], Image.fromarray(pixels())
    image = {"file": path, "bytes": path.read_bytes(), "picture": read, "array": pixels(), "grey": grey}
    with vlseg.Client(address) as client:
        answer = client.segment(image[kind], ["polyp", "dark cyst"], threshold=0.4, probability=True)
    shown = np.repeat(grey[..., None], 3, axis=2) if kind == "grey" else pixels()
    for result, want in zip(answer.results, predictor().segment(shown, ["polyp", "dark cyst"]), strict=True):
        assert np.array_equal(result.mask, want.probability > 0.4)
        assert np.array_equal(result.hundredths > 70, want.probability > 0.7)
        assert (result.area_px, result.presence) == (result.mask.sum(), want.presence)
        assert result.state == ("found" if result.mask.any() else "not_found")
    assert (answer.width, answer.height, answer.model) == (50, 40, "tiny")
    assert answer.familiar.state == "unknown"


def test_a_stored_image(address: str) -> None:
    with vlseg.Client(address) as client:
        image = client.upload(pixels(2))
        (result,) = image.segment("polyp").results
        assert np.array_equal(result.mask, predictor().segment(pixels(2), ["polyp"])[0].mask)
        named = image.segment("dark cyst", model="named")
        assert (named.model, named.results[0].hundredths) == ("named", None)
        masks = {"polyp": result.mask}
        with zipfile.ZipFile(BytesIO(image.export("masks", masks))) as archive:
            assert np.array_equal(np.asarray(Image.open(archive.open("01__polyp.png"))) > 0, result.mask)
        assert json.loads(image.export("coco", masks))["categories"] == [{"id": 1, "name": "polyp"}]
        assert Image.open(BytesIO(image.export("overlay", masks, {"polyp": "#00ff00"}))).size == (50, 40)
        ids, folder = image.correct({("a polyp", "polyp"): result.mask}, patient="p1")
        assert len(ids) == 1
        assert Path(folder, "images").is_dir()
        with vlseg.Client(address) as other:
            image._client, own = other, image._client
            with pytest.raises(ServerError) as refused:
                image.segment("polyp")
            image._client = own
        assert (refused.value.status, refused.value.code) == (404, "no_such_image")
        image.delete()
        with pytest.raises(ServerError):
            image.segment("polyp")


def test_models_and_words(address: str) -> None:
    with vlseg.Client(address) as client:
        assert [one["name"] for one in client.models()] == ["tiny", "named"]
        assert client.words("tiny") == {"words": [], "prompts": []}


def test_refusals_are_told(address: str) -> None:
    with vlseg.Client(address) as client:
        with pytest.raises(ServerError, match=r"image: .*\(415 "):
            client.segment(b"no image", "polyp")
        with pytest.raises(ServerError, match=r"model: .*\(422 unknown_model\)"):
            client.segment(pixels(), "polyp", model="other")
    with vlseg.Client(address.partition("?")[0], token="w" * 30) as client, pytest.raises(ServerError, match="401"):
        client.models()


def test_many_at_once_over_the_network(address: str) -> None:
    """Each of fifty clients gets the mask of its own image and prompt."""

    def ask(seed: int) -> np.ndarray:
        with vlseg.Client(address) as client:
            return client.segment(pixels(seed, (40 + seed % 5, 50)), f"polyp {seed}").results[0].mask

    with ThreadPoolExecutor(50) as threads:
        masks = list(threads.map(ask, range(50)))
    alone = predictor()
    for seed, mask in enumerate(masks):
        (want,) = alone.segment(pixels(seed, (40 + seed % 5, 50)), [f"polyp {seed}"])
        sure = np.abs(want.probability - 0.5) > 1e-4
        assert np.array_equal(mask[sure], want.mask[sure])
        assert mask.shape == want.mask.shape


def test_the_docs_example(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("image.png").write_bytes(png(pixels()))
    exec(block.replace("http://127.0.0.1:8000/?token=TOKEN", address), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.endswith("(40, 50)") for line in lines[:2])
    assert all(line.endswith("True") for line in lines[2:])


def answering(*statuses: int) -> tuple[httpx2.MockTransport, list[int]]:
    left, asked = list(statuses), []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(left[0])
        status = left.pop(0)
        body = {"models": []} if status == 200 else {"error": {"code": "overloaded", "message": "the server: full"}}
        return httpx2.Response(status, json=body, headers={"Retry-After": "1"} if status == 429 else {})

    return httpx2.MockTransport(answer), asked


def test_a_full_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("vlseg.client.time.sleep", slept.append)
    transport, asked = answering(429, 429, 200)
    with Client("http://x", token="t", transport=transport) as client:
        assert client.models() == []
    assert (asked, slept) == ([429, 429, 200], [1.0, 1.0])
    transport, asked = answering(429, 200)
    with Client("http://x", token="t", transport=transport, patience=0) as client, pytest.raises(ServerError):
        client.models()
    assert asked == [429]
    transport, asked = answering(503, 200)  # without a time to come back
    with Client("http://x", token="t", transport=transport) as client, pytest.raises(ServerError):
        client.models()
    assert asked == [503]


def test_what_is_no_server_and_no_address() -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(404, text="<html>"))
    with (
        Client("http://x", token="t", transport=transport) as client,
        pytest.raises(ServerError, match="no vlseg server"),
    ):
        client.models()
    with (
        Client("http://127.0.0.1:9/", token="t") as client,
        pytest.raises(ServerError, match=r"^url: http://127\S+ does not answer") as raised,
    ):
        client.models()
    assert raised.value.status == 0
    with pytest.raises(ValueError, match="token"):
        Client("http://127.0.0.1:8000/")
    with pytest.raises(ValueError, match="address"):
        Client("127.0.0.1:8000", token="t")


@pytest.mark.parametrize("image", [np.zeros((9, 9)), np.zeros((9, 9, 3)), np.zeros((9, 9, 5), np.uint8)])
def test_an_array_that_is_no_image(image: np.ndarray) -> None:
    with Client("http://x", token="t") as client, pytest.raises(ValueError, match=r"^image: .* give uint8, \(H, W\)"):
        client.segment(image, "polyp")


def test_a_server_that_takes_too_long() -> None:
    def slow(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("timed out", request=request)

    with (
        Client("http://x", token="t", transport=httpx2.MockTransport(slow)) as client,
        pytest.raises(ServerError, match=r"^timeout: http://x gave no answer in time"),
    ):
        client.models()


def test_the_client_needs_no_torch(address: str) -> None:
    """Also where torch cannot be imported at all."""
    program = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers', 'scipy', 'fastapi', 'pydantic'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import numpy as np, vlseg\n"
        f"with vlseg.Client({address!r}) as client:\n"
        "    answer = client.segment(np.full((20, 30, 3), 90, np.uint8), ['polyp'])\n"
        "    print(answer.results[0].mask.shape)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(20, 30)\n", "")


class _Elsewhere(BaseHTTPRequestHandler):
    """A server that is none of ours: tells what it was asked, and answers with `page`, or with a way to itself."""

    asked: ClassVar[list[str]] = []
    page: ClassVar[bytes] = b"<html>hello"

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(307 if self.path == "/v1/models" and self.page == b"away" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    do_POST = do_GET  # noqa: N815 (http.server's name)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _Elsewhere.asked = []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(20)
    server.server_close()


def test_what_is_no_vlseg_server_is_told(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in (b"<html>hello", b"[1]", b"away"):
        monkeypatch.setattr(_Elsewhere, "page", page)
        with vlseg.Client(elsewhere, token=TOKEN) as client, pytest.raises(ServerError, match="no vlseg server"):
            client.models()
    assert set(_Elsewhere.asked) == {"GET /v1/models"}  # the token follows no redirect
    with vlseg.Client(elsewhere, token=TOKEN) as client, pytest.raises(ServerError, match="no vlseg server"):
        client.segment(pixels(), "polyp")


def test_a_proxy_gets_nothing_that_is_for_this_machine(
    address: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, elsewhere)
    for own in (address, address.replace("127.0.0.1", "localhost")):
        with vlseg.Client(own) as client:
            assert client.segment(pixels(), "polyp").model == "tiny"
    assert _Elsewhere.asked == []
    with vlseg.Client("http://seg.invalid", token=TOKEN) as client, pytest.raises(ServerError):
        client.models()
    assert _Elsewhere.asked == ["GET http://seg.invalid/v1/models"]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "P", "1", "LA", "RGBA", "I;16"])
def test_a_picture_of_any_colours(address: str, mode: str) -> None:
    picture = Image.fromarray(pixels()).convert("L" if mode == "I;16" else "RGB" if mode == "LAB" else mode)
    picture = picture if mode not in ("I;16", "LAB") else Image.new(mode, (50, 40))
    with vlseg.Client(address) as client:
        answer = client.segment(picture, "polyp", probability=True)
    assert (answer.width, answer.height) == (50, 40)
    if mode in ("CMYK", "YCbCr"):
        (want,) = predictor().segment(np.asarray(picture.convert("RGB")), ["polyp"])
        assert np.array_equal(answer.results[0].hundredths > 50, want.probability > 0.5)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5), np.float32), np.zeros((3, 40, 50), np.uint8), Image.new("F", (5, 4)), Image.new("I", (5, 4))],
)
def test_what_is_no_picture_is_told(address: str, image: np.ndarray | Image.Image) -> None:
    with vlseg.Client(address) as client, pytest.raises(ValueError, match=r"^image: "):
        client.segment(image, "polyp")


def test_a_models_name_is_one_part_of_the_address(address: str) -> None:
    with vlseg.Client(address) as client:
        assert client.words("tiny") == {"words": [], "prompts": []}
        for name in ("tiny/words?x=", "../tiny", "tiny#"):
            with pytest.raises(ServerError):
                client.words(name)
