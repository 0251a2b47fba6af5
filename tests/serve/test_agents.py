"""`vlseg mcp` asked by the official client: in this process, and as an agent's program starts it."""

import asyncio
import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import pixels, png, predictor, run

pytest.importorskip("mcp_types")

import jsonschema
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult, ImageContent, TextContent

from vlseg.evaluation import Predictor
from vlseg.metrics import dice_score
from vlseg.prompts import Vocabulary
from vlseg.records import InputError
from vlseg.serve import Limits
from vlseg.serve.agent_files import open_folders
from vlseg.serve.agent_tools import Tools
from vlseg.serve.agents import make_server
from vlseg.serve.app import make_serving
from vlseg.serve.pictures import NOTICE

TOOLS = {"segment", "list_models", "probe"}
VOCABULARY = Vocabulary(("a", "cyst", "polyp"), ("a polyp", "a cyst"), ("polyp", "cyst", "nodule"))


def told(model: Predictor) -> Predictor:
    model.vocabulary = VOCABULARY
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, Predictor]:
    return {"tiny": told(predictor(threshold=0.45)), "unet": predictor("unet")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for seed in (0, 1):
        (tmp_path / "images" / f"{seed}.png").write_bytes(png(pixels(seed)))
    (tmp_path / "secret.png").write_bytes(png(pixels(7)))
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "images" / "notes.txt").write_text("name of a patient")
    return tmp_path


Ask = Callable[..., list[CallToolResult]]


@pytest.fixture
def ask(models: dict[str, Predictor], folder: Path) -> Ask:
    """The answers to calls, by a server that reads images/ and writes masks/ where `writes`."""

    def asked(*calls: tuple[str, dict[str, Any]], writes: bool = False, limits: Limits | None = None) -> Any:
        folders = open_folders([folder / "images"], folder / "masks" if writes else None)

        def load() -> Tools:
            sources = {"tiny": "nowhere", "unet": "nowhere"}
            return Tools(make_serving(models, limits or Limits(), licences={}), sources, folders)

        async def talk() -> list[Any]:
            async with Client(make_server(load, writes=writes)) as client:
                schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
                answers = [await client.call_tool(name, values) for name, values in calls]
            for (name, _), answer in zip(calls, answers, strict=True):
                check(answer, schemas[name])
            return answers

        return run(talk())

    return asked


def check(answer: CallToolResult, schema: dict[str, Any] | None) -> None:
    """An error is one line; an answer fits its schema, says the same as text, and holds the notice."""
    text = answer.content[0]
    assert isinstance(text, TextContent)
    if answer.is_error:
        assert "\n" not in text.text
        assert len(answer.content) == 1
        return
    assert schema is not None
    jsonschema.validate(answer.structured_content, schema)
    assert json.loads(text.text) == answer.structured_content
    assert answer.structured_content["notice"] == NOTICE


def masks(answer: CallToolResult) -> list[np.ndarray]:
    found = []
    for one in answer.content[1:]:
        assert isinstance(one, ImageContent)
        assert one.mime_type == "image/png"
        with Image.open(io.BytesIO(base64.b64decode(one.data))) as picture:
            assert picture.mode == "1"
            assert picture.info["Comment"] == NOTICE
            found.append(np.asarray(picture))
    return found


def line(answer: CallToolResult) -> str:
    assert answer.is_error
    text = answer.content[0]
    assert isinstance(text, TextContent)
    return text.text


def test_the_masks_of_the_predictor(models: dict[str, Predictor], ask: Ask, folder: Path) -> None:
    (answer,) = ask(("segment", {"image": "0.png", "prompts": ["a polyp", "a zebra"]}))
    expected = models["tiny"].segment(folder / "images" / "0.png", ["a polyp", "a zebra"])
    values = answer.structured_content
    assert (values["model"], values["digest"]) == ("tiny", models["tiny"].digest)
    assert (values["height"], values["width"]) == expected[0].mask.shape
    assert values["familiar"] == {"state": "unknown", "reasons": []}
    for number, (found, prediction, mask) in enumerate(zip(values["results"], expected, masks(answer), strict=True)):
        assert np.array_equal(mask, prediction.mask)
        assert found["area_px"] == prediction.mask.sum()
        assert found["state"] == ("found" if prediction.mask.any() else "not_found")
        assert found["presence"] == {"score": prediction.presence, "calibrated": False, "n": None}
        assert found["picture"] == number
        assert found["file"] is None
        assert found["threshold"] == 0.45
    assert [found["unknown_words"] for found in values["results"]] == [[], ["zebra"]]


@pytest.mark.parametrize("level", [0.02, 0.5, 0.98])
def test_the_box_holds_the_mask_and_no_row_more(
    models: dict[str, Predictor], ask: Ask, folder: Path, level: float
) -> None:
    (prediction,) = models["tiny"].segment(folder / "images" / "1.png", ["a polyp"])
    limit = float(np.quantile(prediction.probability, level))
    (answer,) = ask(("segment", {"image": "1.png", "prompts": ["a polyp"], "threshold": limit}))
    left, top, right, bottom = answer.structured_content["results"][0]["box"]
    (mask,) = masks(answer)
    assert mask.any()
    assert mask[top:bottom, left:right].sum() == mask.sum()
    assert all(side.any() for side in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]))


def test_an_empty_mask_has_a_state_and_no_box(ask: Ask) -> None:
    (answer,) = ask(("segment", {"image": "1.png", "prompts": ["a polyp"], "threshold": 1}))
    (found,) = answer.structured_content["results"]
    assert (found["state"], found["area_px"], found["box"]) == ("not_found", 0, None)


def test_content_in_place_of_a_path(ask: Ask) -> None:
    content = base64.b64encode(png(pixels(0))).decode()
    wrapped = "\n".join(content[start : start + 76] for start in range(0, len(content), 76))
    answers = ask(
        *(("segment", {"image_base64": text, "prompts": ["a polyp"]})
          for text in (content, wrapped, f"data:image/png;base64,{content}")),
        ("segment", {"image": "0.png", "prompts": ["a polyp"]}),
    )  # fmt: skip
    assert all(answer == answers[-1] for answer in answers)


def test_prompts_as_clients_send_them(ask: Ask) -> None:
    ways: list[Any] = ["a polyp", ["a polyp"], '["a polyp"]']
    answers = ask(*(("segment", {"image": "0.png", "prompts": way}) for way in ways))
    assert all(not answer.is_error and answer == answers[0] for answer in answers)


def test_an_image_is_encoded_once(models: dict[str, Predictor], ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    model: Any = models["tiny"].model
    real = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda inputs: encoded.append(1) or real(inputs))
    calls = [("segment", {"image": "0.png", "prompts": [prompt]}) for prompt in ("a polyp", "a cyst")]
    ask(*calls, ("probe", {"image": "0.png", "prompt": "a polyp"}))
    assert len(encoded) == 1
    ask(*calls[:1], ("segment", {"image": "1.png", "prompts": ["a polyp"]}))
    assert len(encoded) == 3


def test_masks_are_written_where_that_is_allowed(ask: Ask, folder: Path) -> None:
    values = {"image": "0.png", "prompts": ["a polyp", "a cyst"], "write_masks": True, "show_masks": False}
    first, second = ask(("segment", values), ("segment", {**values, "show_masks": True}), writes=True)
    assert len(first.content) == 1
    files = [found["file"] for found in first.structured_content["results"]]
    assert files == [str(folder / "masks" / name) for name in ("0__a-polyp.png", "0__a-cyst.png")]
    assert [found["picture"] for found in first.structured_content["results"]] == [None, None]
    for file, mask in zip(files, masks(second), strict=True):
        with Image.open(file) as picture:
            assert np.array_equal(np.asarray(picture), mask)
            assert picture.info["Comment"] == NOTICE
    again = [Path(found["file"]).name for found in second.structured_content["results"]]
    assert again == ["0__a-polyp-2.png", "0__a-cyst-2.png"]


def test_what_is_told_of_the_models(ask: Ask, folder: Path) -> None:
    for writes in (False, True):
        (answer,) = ask(("list_models", {}), writes=writes)
        values = answer.structured_content
        assert [(one["name"], one["default"], one["reads_text"]) for one in values["models"]] == [
            ("tiny", True, True),
            ("unet", False, False),
        ]
        assert values["models"][0]["prompts"] == ["a polyp", "a cyst"]
        assert values["readable"] == [str(folder / "images")]
        assert values["written"] == (str(folder / "masks") if writes else None)


@pytest.mark.parametrize("writes", [False, True])
def test_tools_say_what_they_do(models: dict[str, Predictor], writes: bool) -> None:
    folders = open_folders([Path()], None)

    async def listed() -> Any:
        server = make_server(lambda: Tools(make_serving(models, Limits(), licences={}), {}, folders), writes=writes)
        async with Client(server) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in run(listed())}
    assert tools.keys() == TOOLS
    for name, tool in tools.items():
        assert tool.annotations.read_only_hint is not (writes and name == "segment")
        assert tool.annotations.destructive_hint is False
        assert tool.annotations.open_world_hint is False
        assert tool.input_schema["additionalProperties"] is False
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no prompts": ("segment", {"image": "0.png"}, "segment: field 'prompts': Field required"),
    "none of them": ("segment", {"image": "0.png", "prompts": []}, "segment: field 'prompts'"),
    "prompts that are no texts": ("segment", {"image": "0.png", "prompts": [1]}, r"segment: field 'prompts.0'"),
    "an unknown field": ("segment", {"image": "0.png", "prompts": ["x"], "treshold": 1}, "field 'treshold'"),
    "a threshold of 2": ("segment", {"image": "0.png", "prompts": ["x"], "threshold": 2}, "field 'threshold'"),
    "no image": ("segment", {"prompts": ["x"]}, "give either image"),
    "two images": ("segment", {"prompts": ["x"], "image": "0.png", "image_base64": ""}, "give either image"),
    "an empty prompt": ("segment", {"image": "0.png", "prompts": [" "]}, "prompt 1: is empty"),
    "a long prompt": ("segment", {"image": "0.png", "prompts": ["x" * 501]}, "prompt 1: has 501 characters"),
    "a hidden character": ("segment", {"image": "0.png", "prompts": ["a\u202eb"]}, "U[+]202E"),
    "17 prompts": ("segment", {"image": "0.png", "prompts": ["x"] * 17}, "17 are given"),
    "an unknown model": ("segment", {"image": "0.png", "prompts": ["x"], "model": "z"}, "has tiny, unet"),
    "no target": ("segment", {"image": "0.png", "prompts": ["x"], "model": "unet"}, "unknown target"),
    "no such file": ("segment", {"image": "none.png", "prompts": ["x"]}, "cannot be opened"),
    "a text": ("segment", {"image": "notes.txt", "prompts": ["x"]}, "is not PNG"),
    "a file outside": ("segment", {"image": "../secret.png", "prompts": ["x"]}, "outside of the folders"),
    "an absolute path": ("segment", {"image": "/etc/passwd", "prompts": ["x"]}, "outside of the folders"),
    "a link outside": ("segment", {"image": "link.png", "prompts": ["x"]}, "outside of the folders"),
    "no base64": ("segment", {"image_base64": "!!", "prompts": ["x"]}, "is no base64"),
    "no image in it": ("segment", {"image_base64": "QUJD", "prompts": ["x"]}, "is not PNG"),
    "nothing in it": ("segment", {"image_base64": "", "prompts": ["x"]}, "is empty"),
    "nowhere to write": ("segment", {"image": "0.png", "prompts": ["x"], "write_masks": True}, "--out DIR"),
    "a probe outside": ("probe", {"image": "../secret.png", "prompt": "x"}, "outside of the folders"),
    "a probe of nothing": ("probe", {"image": "0.png", "prompt": ""}, "prompt 1: is empty"),
    "a probe of a bad name": ("probe", {"image": "0.png", "prompt": "x", "others": ["y", "\0"]}, "prompt 3"),
    "fields for list_models": ("list_models", {"all": True}, "field 'all'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_are_told_in_one_line(ask: Ask, folder: Path, case: str) -> None:
    name, values, message = WRONG[case]
    (answer,) = ask((name, values))
    assert re.search(message, line(answer)), line(answer)
    assert "name of a patient" not in line(answer)
    assert not (folder / "masks").exists()


def test_files_beyond_the_limits(ask: Ask) -> None:
    limits = Limits(bytes=500, pixels=1000)
    large = base64.b64encode(b"x" * 501).decode()
    path, content = ask(
        ("segment", {"image": "0.png", "prompts": ["x"]}),
        ("segment", {"image_base64": large, "prompts": ["x"]}),
        limits=limits,
    )
    assert "more than 500 bytes" in line(path)
    assert "500" in line(content)
    (answer,) = ask(("segment", {"image": "0.png", "prompts": ["x"]}), limits=Limits(pixels=1000))
    assert "beyond 1000 pixels" in line(answer)


def test_a_probe_says_how_the_mask_changes(models: dict[str, Predictor], ask: Ask, folder: Path) -> None:
    image = folder / "images" / "0.png"
    (answer,) = ask(("probe", {"image": "0.png", "prompt": "a polyp", "others": ["a liver"]}))
    values = answer.structured_content
    here = values["on_this_image"]
    (own,) = models["tiny"].segment(image, ["a polyp"])
    assert here["area_px"] == own.mask.sum() > 0
    prompts = [one["prompt"] for one in here["asked"]]
    assert len(prompts) == len(set(prompts))
    assert {"", "a liver", "no a polyp", "cyst", "nodule"} <= set(prompts)
    assert not {"a polyp", "polyp"} & set(prompts)
    for one, prediction in zip(here["asked"], models["tiny"].segment(image, prompts), strict=True):
        assert one["area_px"] == prediction.mask.sum()
        assert one["changed_px"] == (prediction.mask != own.mask).sum()
        assert one["dice_with_own"] == pytest.approx(dice_score(prediction.mask, own.mask))
    means = {one["prompt"]: one["means"] for one in here["asked"]}
    assert (means[""], means["a liver"], means["cyst"]) == ("nothing", "given", "something else")
    others = [one["dice_with_own"] for one in here["asked"] if one["means"] == "something else"]
    low, high = f"{min(others):.2f}", f"{max(others):.2f}"
    spread = low if low == high else f"{low} to {high}"
    assert f"asked for something else, the Dice with the prompt's own mask is {spread}" in here["says"]
    assert "not whether it is right" in here["what"]
    assert values["on_a_test_split"] == []
    assert "is no run" in values["no_test_split"]


def test_a_probe_of_empty_masks_compares_nothing(ask: Ask) -> None:
    (answer,) = ask(("probe", {"image": "0.png", "prompt": "a polyp", "threshold": 1}))
    here = answer.structured_content["on_this_image"]
    assert {one["dice_with_own"] for one in here["asked"]} == {None}
    assert here["says"].startswith("The prompt's own mask is empty")


def test_a_model_that_reads_no_text_says_so(models: dict[str, Predictor], ask: Ask) -> None:
    targets = models["unet"].model.spec.targets
    (answer,) = ask(("probe", {"image": "0.png", "prompt": targets[0], "model": "unet"}))
    here = answer.structured_content["on_this_image"]
    assert {one["prompt"] for one in here["asked"]} == set(targets[1:4])
    assert here["says"].startswith("This model reads no text")


def test_what_cannot_be_loaded_is_told_by_every_call(capfd: pytest.CaptureFixture[str]) -> None:
    def load() -> Tools:
        raise InputError("runs/x: broken weights; train again")

    async def talk() -> Sequence[Any]:
        async with Client(make_server(load, writes=False)) as client:
            return [await client.call_tool("list_models", {}) for _ in range(2)]

    assert [line(answer) for answer in run(talk())] == ["runs/x: broken weights; train again"] * 2
    assert "vlseg: runs/x: broken weights" in capfd.readouterr().err


def test_a_failure_of_ours_is_one_line_too(ask: Ask, models: dict[str, Predictor], monkeypatch: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret\nof the server")

    monkeypatch.setattr(models["tiny"].model, "decode", broken)
    (answer,) = ask(("segment", {"image": "0.png", "prompts": ["x"]}))
    assert line(answer) == "segment: failed (RuntimeError); the server's standard error says more"


def test_a_call_that_is_left_does_not_stop_the_loading(models: dict[str, Predictor], folder: Path) -> None:
    go = threading.Event()

    def load() -> Tools:
        go.wait(20)
        return Tools(make_serving(models, Limits(), licences={}), {}, open_folders([folder], None))

    async def talk() -> Any:
        async with Client(make_server(load, writes=False)) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.call_tool("list_models", {})
            go.set()
            return await client.call_tool("list_models", {})

    assert not run(talk()).is_error


def server(*arguments: object, folder: Path) -> StdioServerParameters:
    words = ["-m", "vlseg", "mcp", *map(str, arguments), "--threads", "1", "--device", "cpu"]
    return StdioServerParameters(command=sys.executable, args=words, cwd=folder, env={"OMP_NUM_THREADS": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_as_an_agents_program_starts_it(trained: Path, folder: Path, mode: str) -> None:
    """Over stdio, in today's protocol and in that of clients with a handshake."""

    async def talk() -> dict[str, Any]:
        started = server(trained / "run", f"other={trained / 'run' / 'model'}", "--allow", "images", "--out", "masks",
                         folder=folder)  # fmt: skip
        async with Client(started, mode=mode) as client:
            schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
            assert schemas.keys() == TOOLS
            calls = {
                "list_models": {},
                "segment": {"image": "0.png", "prompts": ["bright disc"], "write_masks": True, "model": "other"},
                "probe": {"image": "0.png", "prompt": "bright disc"},
            }
            answers = {name: await client.call_tool(name, values) for name, values in calls.items()}
            for name, answer in answers.items():
                check(answer, schemas[name])
            hostile = ["../secret.png", "link.png", "/etc/passwd", str(folder / "secret.png"), "a\0"]
            for path in hostile:
                refused = await client.call_tool("segment", {"image": path, "prompts": ["x"]})
                assert "outside of the folders" in line(refused)
            assert "field 'prompts'" in line(await client.call_tool("segment", {}))
            return answers

    answers = run(talk())
    assert [one["name"] for one in answers["list_models"].structured_content["models"]] == ["run", "other"]
    (found,) = answers["segment"].structured_content["results"]
    assert Path(found["file"]) == folder / "masks" / "0__bright-disc.png"
    (mask,) = masks(answers["segment"])
    with Image.open(found["file"]) as written:
        assert np.array_equal(np.asarray(written), mask)


@pytest.mark.slow
def test_a_stored_probe_is_told_apart(vlseg: Callable[..., Any], trained: Path, folder: Path) -> None:
    place = shutil.copytree(trained / "run", folder / "run")

    async def talk() -> Any:
        async with Client(server(place, "--allow", "images", folder=folder)) as client:
            return await client.call_tool("probe", {"image": "0.png", "prompt": "bright disc"})

    before = run(talk()).structured_content
    assert before["on_a_test_split"] == []
    assert "Nobody has probed this run" in before["no_test_split"]
    probed = vlseg("probe", place, "--data", trained / "data", "--device", "cpu", "--json").json
    after = run(talk()).structured_content
    (stored,) = after["on_a_test_split"]
    assert after["no_test_split"] is None
    assert after["on_this_image"] == before["on_this_image"]
    assert stored["selection_index"] == probed["selection_index"]
    assert stored["presence_index"] == probed["presence_index"]
    assert (stored["dataset"], stored["split"], stored["same_weights"]) == ("data", "test", True)


@pytest.mark.slow
def test_standard_output_holds_the_protocol_alone(trained: Path, folder: Path) -> None:
    """Line for line, with what is no protocol in between; and the server ends when its input does."""
    sent: list[object] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_models", "arguments": {}}},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "nothing", "arguments": {}}},
        {"jsonrpc": "2.0", "id": 4, "method": "no/such"},
        "no JSON {",
        {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {
            "name": "segment", "arguments": {"image": "0.png", "prompts": ["x"]}}},
    ]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "vlseg", "mcp", trained / "run", "--allow", "images", "--threads", "1"],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        for message in sent:
            running.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
        running.stdin.flush()
        answered: dict[int, Any] = {}
        while answered.keys() < {1, 2, 3, 4, 5}:
            message = json.loads(running.stdout.readline())
            assert message["jsonrpc"] == "2.0"
            if message.get("id") is not None:
                answered[message["id"]] = message
        running.stdin.close()
        assert running.wait(30) == 0
        assert running.stdout.read() == ""
    assert answered[1]["result"]["serverInfo"]["name"] == "vlseg"
    assert answered[3]["result"]["isError"] is True
    assert "error" in answered[4]
    assert answered[5]["result"]["structuredContent"]["notice"] == NOTICE


@pytest.mark.slow
def test_ctrl_c_ends_it(trained: Path, folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "vlseg", "mcp", trained / "run"],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}) + "\n")
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["id"] == 1
        os.kill(running.pid, signal.SIGINT)
        try:
            assert running.wait(30) == 130
        finally:
            running.kill()
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()


def test_what_is_wrong_is_known_before_anything_is_served(
    vlseg: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    cases = {
        "is no folder, no hub id and no model": ["nothing"],
        "--allow: .*none is no folder": [trained / "run", "--allow", tmp_path / "none"],
        "both called run": [trained / "run", trained / "run" / "model"],
    }
    for message, words in cases.items():
        done = vlseg("mcp", *words)
        assert done.code == 2
        assert done.out == ""
        assert len(done.err.splitlines()) == 1
        assert re.search(message, done.err)


def test_the_missing_package_is_named(vlseg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    done = vlseg("mcp", "nothing")
    assert (done.code, done.err) == (
        2,
        "vlseg: mcp: the package mcp (2.3) is not installed here; pip install 'vlseg[mcp]'\n",
    )


def test_the_documented_configuration(vlseg: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL)
    told: list[Any] = []
    monkeypatch.setattr("vlseg.serve.agents.serve_agents", lambda *words, **more: told.append((*words, more)))
    assert vlseg(*json.loads(example)["mcpServers"]["vlseg"]["args"]).code == 0
    ((sources, _, more),) = told
    assert sources == ["/data/runs/polyp"]
    assert more == {"readable": [Path("/data/images")], "written": Path("/data/masks")}
