"""`vlseg serve` as a process, and what it refuses before it loads anything."""

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image
from served import predictor

import vlseg as package
from vlseg.models.device import resolve_device
from vlseg.records import InputError
from vlseg.serve import server
from vlseg.serve.app import make_serving
from vlseg.serve.limits import Limits
from vlseg.serve.server import Settings, named_sources, serve


@contextlib.contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server and the line that it prints."""
    command = [sys.executable, "-m", "vlseg", "serve", *map(str, arguments), "--threads", "1", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().strip()
        finally:
            running.kill()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 by itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.mark.slow
def test_from_start_to_end(trained: Path, tmp_path: Path) -> None:
    """Two models, a page's cookie, a program, an answer under way when the end comes."""
    (tmp_path / "token").write_text("a-token-of-my-own-0123456789\n")
    (tmp_path / "token").chmod(0o600)
    sources = (trained / "run", f"other={trained / 'run' / 'model'}")
    with process(*sources, "--port", 0, "--token-file", tmp_path / "token") as (running, address):
        assert address.endswith("/?token=a-token-of-my-own-0123456789")
        with httpx2.Client(follow_redirects=True) as page:
            opened = page.get(address)
            assert opened.status_code == 200
            assert "token" not in str(opened.url)
            base = str(opened.url).rstrip("/")
            assert [one["name"] for one in page.get(f"{base}/v1/models").json()["models"]] == ["run", "other"]
        image = next((trained / "data" / "images").glob("test*.png"))
        predictor = package.load(str(trained / "run"), device="cpu")
        (want,) = predictor.segment(image, ["bright disc"])
        with package.Client(address) as client:
            for model in ("run", "other"):
                (result,) = client.segment(image, "bright disc", model=model, threshold=predictor.threshold).results
                assert np.array_equal(result.mask, want.mask)
            large = np.asarray(Image.open(image).convert("RGB").resize((3000, 3000)))
            found: list[Any] = []
            asked = threading.Thread(target=lambda: found.append(client.segment(large, ["bright disc"] * 16)))
            asked.start()
            with httpx2.Client(headers={"Authorization": "Bearer a-token-of-my-own-0123456789"}) as watch:
                until(lambda: "vlseg_requests_open 1.0" in watch.get(f"{base}/metrics").text)
            running.send_signal(signal.SIGTERM)
            asked.join(60)
            assert len(found[0].results) == 16
        assert running.wait(30) == 0
        out, err = running.communicate()
        assert (out, "Traceback" in err, "bright disc" in err) == ("", False, False)
        assert "a-token-of-my-own" not in err


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "did not come true in time"


@pytest.mark.slow
def test_over_tls(trained: Path, tmp_path: Path) -> None:
    public, key = certificate(tmp_path)
    with process(trained / "run", "--port", 0, "--certificate", public, "--key", key, "--json") as (running, line):
        told = json.loads(line)
        assert (told["command"], told["models"]) == ("serve", ["run"])
        assert told["url"].startswith("https://127.0.0.1:")
        with package.Client(told["url"], verify=ssl.create_default_context(cafile=str(public))) as client:
            assert client.models()[0]["name"] == "run"
        running.send_signal(signal.SIGINT)
        assert running.wait(30) in (0, 130, -signal.SIGINT)


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("vlseg.serve.server.load", refused)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another host": ({"host": "0.0.0.0"}, "--host: 0.0.0.0 is reached by other machines"),
    "a proxy for no name": ({"host": "0.0.0.0", "behind_proxy": True}, "--allow-host: "),
    "no address": ({"host": "256.256.256.256", "behind_proxy": True}, "--host: 256.256.256.256 is no address"),
    "no certificate": ({"certificate": Path("none.pem"), "key": Path("none.pem")}, "--certificate: "),
    "no key": ({"certificate": Path("none.pem")}, "--certificate: needs --key"),
    "no token": ({"token_file": Path("none.txt")}, "--token-file: "),
    "a name with a port": ({"allow_hosts": ("seg.example.org/x",)}, "host 'seg.example.org/x'"),
}


@pytest.mark.usefixtures("nothing_loads")
class TestRefusedAtOnce:
    @pytest.mark.parametrize("case", WRONG)
    def test_settings(self, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        settings, line = WRONG[case]
        (tmp_path / "run").mkdir()
        with pytest.raises(InputError) as error:
            serve(["run"], Settings(port=0, **settings), {}, lambda *_: None)
        assert line in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_port_in_use(self, trained: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(InputError, match=f"--port: {port} on 127.0.0.1 cannot be used"):
                serve([str(trained / "run")], Settings(port=port), {}, lambda *_: None)

    @pytest.mark.parametrize("text", ["short", "with a space in it 0123456789", ""])
    def test_a_bad_token(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(text)
        with pytest.raises(InputError, match=r"--token-file: .*20 to 256 letters"):
            serve([str(tmp_path)], Settings(port=0, token_file=tmp_path / "token"), {}, lambda *_: None)

    def test_a_certificate_of_another_key(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        public, key = certificate(tmp_path / "a")[0], certificate(tmp_path / "b")[1]
        with pytest.raises(InputError, match=r"--certificate: .*belong together"):
            serve([str(tmp_path)], Settings(port=0, certificate=public, key=key), {}, lambda *_: None)
        key.write_text("no key")
        with pytest.raises(InputError, match="--certificate: "):
            serve([str(tmp_path)], Settings(port=0, certificate=public, key=key), {}, lambda *_: None)

    def test_a_run_without_a_model(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "half").mkdir()
        (tmp_path / "half" / "run.json").write_bytes((trained / "run" / "run.json").read_bytes())
        with pytest.raises(InputError, match="half: the run has no model yet"):
            serve([str(trained / "run"), str(tmp_path / "half")], Settings(port=0), {}, lambda *_: None)

    def test_options_of_the_model(self, tmp_path: Path) -> None:
        for options, line in (({"device": "abacus"}, "device: "), ({"precision": "fp4"}, "precision: ")):
            with pytest.raises(InputError, match=line):
                serve([str(tmp_path)], Settings(port=0), options, lambda *_: None)


def test_names_of_models(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained / "run"
    assert named_sources([str(run)]) == {"run": str(run)}
    assert named_sources([str(run / "model"), f"b={run}", "clipseg", "CIDAS/some"]) == {
        "run": str(run / "model"),
        "b": str(run),
        "clipseg": "clipseg",
        "some": "CIDAS/some",
    }
    monkeypatch.chdir(run)
    assert list(named_sources(["."])) == ["run"]
    with pytest.raises(InputError, match="both called run; give NAME="):
        named_sources([str(run), str(run / "model")])
    with pytest.raises(InputError, match="RUN_OR_MODEL: nothing is no folder"):
        named_sources(["nothing"])
    with pytest.raises(InputError, match="'a b' is no name"):
        named_sources([f"a b={run}"])
    (tmp_path / "a=b").mkdir()
    with pytest.raises(InputError, match="is no name"):
        named_sources([str(tmp_path / "a=b")])


def test_a_model_that_gives_no_numbers_is_not_served(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    predictor = package.load(str(trained / "run"), device="cpu")
    with torch.no_grad():
        next(predictor.model.mask_decoder.parameters()).fill_(float("nan"))
    monkeypatch.setattr("vlseg.serve.server.load", lambda *_, **__: predictor)
    with pytest.raises(InputError, match="no numbers"):
        serve([str(trained / "run")], Settings(port=0), {}, lambda *_: None)


def test_the_command_says_it_in_one_line(vlseg: Callable[..., Any], tmp_path: Path) -> None:
    done = vlseg("serve", tmp_path / "none")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "RUN_OR_MODEL" in done.err


def test_each_copy_of_each_model_is_loaded_on_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second model begins anew at the first GPU, though the current one stays where it was set."""
    current, loaded = [0], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: current.append(number))

    def load(source: str, options: dict[str, str]) -> object:
        device = resolve_device(options["device"])
        loaded.append((source, str(device), current[-1]))
        return SimpleNamespace(device=device)

    monkeypatch.setattr(server, "_loaded", load)
    for source in ("one", "two"):
        server.copies_of(source, source, {"device": "cuda"})
    assert loaded == [(source, f"cuda:{number}", number) for source in ("one", "two") for number in range(3)]
    assert current[-1] == 0
    assert str(resolve_device("cuda")) == "cuda"


def test_the_thread_of_a_gpu_stands_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[str, str]] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda name: taken.append((name, threading.current_thread().name)))
    copies = [predictor(), predictor()]
    for number, one in enumerate(copies):
        one.device = torch.device("cuda", number)
    serving = make_serving({"tiny": copies}, Limits(), licences={})
    for place in serving.engines["tiny"]._places:
        place.decode.worker.submit(int).result()
    assert taken == [("cuda:0", "model-cuda:0_0"), ("cuda:1", "model-cuda:1_0")]
