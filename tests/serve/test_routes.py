"""The API's answers and errors, in one process."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
from served import app_of, asking, picture, pixels, png, predictor, run, uploaded

from vlseg.serve import engine
from vlseg.serve.batching import Batcher
from vlseg.serve.limits import Limits
from vlseg.serve.pictures import NOTICE
from vlseg.serve.serving import Serving

IMAGE = {"image": ("a.png", png(pixels()))}


def answered(app: Any, ask: Callable[[httpx2.AsyncClient], Any]) -> Any:
    async def work() -> Any:
        async with asking(app) as client:
            return await ask(client)

    return run(work())


def test_one_image_with_several_prompts() -> None:
    model = predictor()
    prompts = ["polyp", "dark cyst", "polyp"]
    asked = {"prompts": prompts, "threshold": "0.4", "probability": "true"}
    answer = answered(app_of({"tiny": model}), lambda c: c.post("/v1/segment", files=IMAGE, data=asked))
    values = answer.json()
    assert answer.status_code == 200
    assert (values["model"], values["digest"], values["notice"]) == ("tiny", model.digest, NOTICE)
    assert (values["width"], values["height"], values["spacing_mm"]) == (50, 40, None)
    assert values["familiar"] == {"state": "unknown", "reasons": []}
    for prompt, result, want in zip(prompts, values["results"], model.segment(pixels(), prompts), strict=True):
        mask = want.probability > 0.4
        assert result["prompt"] == prompt
        assert np.array_equal(picture(result["mask"]), mask)
        assert (result["area_px"], result["area_mm2"]) == (mask.sum(), None)
        assert result["state"] == ("found" if mask.any() else "not_found")
        assert result["presence"] == {"score": want.presence, "calibrated": False, "n": None}
        assert result["unknown_words"] == []
        shown = picture(result["probability"])
        assert all(np.array_equal(shown > k, want.probability > k / 100) for k in range(101))


def test_pictures_of_an_answer_say_what_they_are_for() -> None:
    import base64
    import io

    from PIL import Image

    answer = answered(app_of(), lambda c: c.post("/v1/segment", files=IMAGE, data={"prompts": "polyp"}))
    (result,) = answer.json()["results"]
    mask = Image.open(io.BytesIO(base64.b64decode(result["mask"])))
    assert (mask.mode, mask.info["Comment"], result["probability"]) == ("1", NOTICE, None)


def test_a_stored_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded = predictor(), []
    encode = model.model.encode_image
    monkeypatch.setattr(model.model, "encode_image", lambda inputs: encoded.append(len(inputs)) or encode(inputs))

    async def work(client: httpx2.AsyncClient) -> None:
        id = await uploaded(client)
        for prompts in (["polyp"], ["dark cyst", "polyp"]):
            answer = await client.post(f"/v1/images/{id}/segment", json={"prompts": prompts})
            for result, want in zip(answer.json()["results"], predictor().segment(pixels(), prompts), strict=True):
                assert np.array_equal(picture(result["mask"]), want.mask)
        assert (await client.delete(f"/v1/images/{id}")).status_code == 204
        assert (await client.post(f"/v1/images/{id}/segment", json={"prompts": ["polyp"]})).status_code == 404

    answered(app_of({"tiny": model}), work)
    assert encoded == [1]


def test_each_model_has_features_of_its_own() -> None:
    models = {"tiny": predictor(), "named": predictor("unet-target")}

    async def work(client: httpx2.AsyncClient) -> None:
        id = await uploaded(client)
        for name, prompt in (("named", "dark cyst"), ("tiny", "a polyp"), ("named", "bright nodule")):
            asked = {"prompts": [prompt], "model": name}
            answer = await client.post(f"/v1/images/{id}/segment", json=asked)
            (want,) = models[name].segment(pixels(), [prompt])
            assert answer.json()["model"] == name
            assert np.array_equal(picture(answer.json()["results"][0]["mask"]), want.mask)
        wrong = await client.post(f"/v1/images/{id}/segment", json={"prompts": ["polyp"], "model": "named"})
        assert wrong.status_code == 422
        assert "dark cyst" in wrong.json()["error"]["message"]

    answered(app_of(models), work)


def test_another_session_has_other_images() -> None:
    app = app_of()

    async def work() -> list[int]:
        async with asking(app, "one") as mine, asking(app, "two") as theirs:
            id = await uploaded(mine)
            asked = {"prompts": ["polyp"]}
            statuses = [(await theirs.post(f"/v1/images/{id}/segment", json=asked)).status_code]
            statuses.append((await theirs.delete(f"/v1/images/{id}")).status_code)
            export = {"what": "masks", "items": [{"prompt": "a", "mask": "aa"}]}
            statuses.append((await theirs.post(f"/v1/images/{id}/export", json=export)).status_code)
            return [*statuses, (await mine.post(f"/v1/images/{id}/segment", json=asked)).status_code]

    assert run(work()) == [404, 404, 404, 200]


def test_images_are_dropped_in_time() -> None:
    now = 0.0

    async def work(client: httpx2.AsyncClient) -> tuple[int, int]:
        nonlocal now
        id, asked = await uploaded(client), {"prompts": ["polyp"]}
        now = 899.0
        before = await client.post(f"/v1/images/{id}/segment", json=asked)
        now = 899.0 + 900.0
        return before.status_code, (await client.post(f"/v1/images/{id}/segment", json=asked)).status_code

    assert answered(app_of(clock=lambda: now), work) == (200, 404)


@dataclass
class Strange:
    """Stands for what a model knows of its training: all images are unlike, only "polyp" is a word."""

    n: int = 80
    words: tuple[str, ...] = ("polyp", "a")
    prompts: tuple[str, ...] = ("a polyp",)

    def judge(self, pixels: np.ndarray, features: object) -> SimpleNamespace:
        assert pixels.dtype == np.float32
        return SimpleNamespace(state="unlike", reasons=["its colours"], score=9.0, threshold=1.0)

    def score(self, raw: float) -> float:
        return raw / 2

    def unknown(self, prompt: str) -> list[str]:
        return [word for word in prompt.split() if word not in self.words]


def test_what_the_model_knows_of_its_training_is_told() -> None:
    model = predictor()
    model.familiarity = model.presence = model.vocabulary = Strange()

    async def work(client: httpx2.AsyncClient) -> None:
        answer = (await client.post("/v1/segment", files=IMAGE, data={"prompts": "a red polyp"})).json()
        (want,) = predictor().segment(pixels(), ["a red polyp"])
        (result,) = answer["results"]
        assert answer["familiar"] == {"state": "unlike", "reasons": ["its colours"]}
        assert result["state"] == "cannot_judge"
        assert np.array_equal(picture(result["mask"]), want.mask)
        assert result["presence"] == {"score": want.presence, "calibrated": False, "n": None}
        assert result["unknown_words"] == ["red"]
        assert (await client.get("/v1/models")).json()["models"][0]["presence"] == {"calibrated": True, "n": 80}
        told = (await client.get("/v1/models/tiny/words")).json()
        assert told == {"words": ["polyp", "a"], "prompts": ["a polyp"]}

    answered(app_of({"tiny": model}), work)

    model.familiarity = None

    async def ask(client: httpx2.AsyncClient) -> None:
        answer = (await client.post("/v1/segment", files=IMAGE, data={"prompts": "a red polyp"})).json()
        (want,) = predictor().segment(pixels(), ["a red polyp"])
        assert answer["results"][0]["presence"] == {"score": want.presence / 2, "calibrated": True, "n": 80}

    answered(app_of({"tiny": model}), ask)


def test_models_and_words() -> None:
    models = {"tiny": predictor(threshold=0.3), "named": predictor("unet-target")}

    async def work(client: httpx2.AsyncClient) -> None:
        listed = (await client.get("/v1/models")).json()["models"]
        assert [(one["name"], one["default"], one["reads_text"]) for one in listed] == [
            ("tiny", True, True),
            ("named", False, False),
        ]
        assert (listed[0]["threshold"], listed[0]["licence"], listed[1]["licence"]) == (0.3, None, "MIT")
        assert listed[0]["image_size"] == [32, 32]
        assert (await client.get("/v1/models/tiny/words")).json() == {"words": [], "prompts": []}
        assert (await client.get("/v1/models/other/words")).status_code == 404

    answered(app_of(models, licences={"named": "MIT"}), work)


JSON = {"Content-Type": "application/json"}


def sent_as(field: bytes, value: bytes, charset: str = "") -> dict[str, Any]:
    """A form with an image and a field of those very bytes."""
    parts = [b'name="image"; filename="a.png"\r\n\r\n' + png(pixels()), b'name="' + field + b'"\r\n\r\n' + value]
    content = b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return {"content": content, "headers": {"Content-Type": f"multipart/form-data; boundary=b{charset}"}}


ODD = '{"prompts": ["a"], "\\ud800": 1}'
WRONG: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no form": ("/v1/segment", {"json": {"prompts": ["a"]}}, 415, "not_a_form"),
    "no image": ("/v1/segment", {"files": {"other": ("a.png", b"x")}, "data": {"prompts": "a"}}, 422, "one_image"),
    "image as text": ("/v1/segment", {"files": {"prompts": (None, "a"), "image": (None, "x")}}, 422, "one_image"),
    "two images": ("/v1/segment", {"files": [("image", ("a", b"x")), ("image", ("b", b"x"))]}, 422, "one_image"),
    "no prompts": ("/v1/segment", {"files": IMAGE}, 422, "invalid"),
    "threshold": ("/v1/segment", {"files": IMAGE, "data": {"prompts": "a", "threshold": "2"}}, 422, "invalid"),
    "nan": ("/v1/segment", {"files": IMAGE, "data": {"prompts": "a", "threshold": "nan"}}, 422, "invalid"),
    "twice": ("/v1/segment", {"files": IMAGE, "data": {"prompts": "a", "model": ["tiny", "tiny"]}}, 422, "twice"),
    "other field": ("/v1/segment", {"files": IMAGE, "data": {"prompts": "a", "prompt": "b"}}, 422, "invalid"),
    "model": ("/v1/segment", {"files": IMAGE, "data": {"prompts": "a", "model": "x"}}, 422, "unknown_model"),
    "a model's path": ("/v1/images", {"files": IMAGE, "data": {"model": "/etc"}}, 422, "unknown_model"),
    "no image file": ("/v1/images", {"files": {"image": ("a.png", b"\x89PNG but not")}}, 422, ""),
    "broken form": (
        "/v1/segment",
        {"content": b"nothing", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        400,
        "bad_form",
    ),
    "no boundary": (
        "/v1/segment",
        {"content": b"--x\r\nno", "headers": {"Content-Type": "multipart/form-data"}},
        400,
        "bad_form",
    ),
    "a long field": ("/v1/segment", {"files": IMAGE, "data": {"prompts": "a" * 70_000}}, 400, "bad_form"),
    "a field in Latin-1": ("/v1/segment", sent_as(b"prompts", "größe".encode("latin-1")), 422, "not_utf8"),
    "a field of half a character": ("/v1/segment", sent_as(b"model", "ü".encode()[:1]), 422, "not_utf8"),
    "a field with a surrogate in UTF-8": ("/v1/images", sent_as(b"model", b"\xed\xa0\x80"), 422, "not_utf8"),
    "many prompts": ("/v1/segment", {"files": IMAGE, "data": {"prompts": ["a"] * 17}}, 422, "too_many_prompts"),
    "broken JSON": (
        "/v1/images/x/segment",
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        400,
        "not_json",
    ),
    "no such image": ("/v1/images/x/segment", {"json": {"prompts": ["a"]}}, 404, "no_such_image"),
    "prompts as text": ("/v1/images/x/segment", {"json": {"prompts": "a"}}, 422, "invalid"),
    "unknown key": ("/v1/images/x/segment", {"json": {"prompts": ["a"], "pixels": 1}}, 422, "invalid"),
    "an odd key": ("/v1/images/x/segment", {"content": ODD, "headers": JSON}, 422, "invalid"),
    "an odd field": ("/v1/images", {"files": IMAGE, "data": {"\n a": ["1", "2"]}}, 422, ""),
    "no UTF-8": ("/v1/images/x/segment", {"content": b"\xff\xfe{}", "headers": JSON}, 400, ""),
    "deep JSON": ("/v1/images/x/segment", {"content": b"[" * 200_000, "headers": JSON}, 400, "not_json"),
    "a long number": ("/v1/images/x/segment", {"content": b"1" * 9000, "headers": JSON}, 400, "not_json"),
    "JSON, not said so": ("/v1/images/x/segment", {"content": b'{"prompts": ["a"]}'}, 422, "invalid"),
    "a list": ("/v1/images/x/segment", {"json": []}, 422, "invalid"),
    "nothing": ("/v1/images/x/segment", {"content": b"", "headers": JSON}, 422, "invalid"),
    "another method": ("/v1/models", {}, 405, "no_such_method"),
    "a slash too many": ("/v1/images/", {"files": IMAGE}, 404, "no_such_path"),
    "NaN in JSON": (
        "/v1/images/x/segment",
        {"content": b'{"prompts": ["a"], "threshold": NaN}', "headers": JSON},
        422,
        "invalid",
    ),
    "no such path": ("/v1/nothing", {}, 404, "no_such_path"),
    "no corrections": ("/v1/corrections", {"json": {}}, 404, "no_such_path"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_line_that_names_the_field(case: str) -> None:
    path, options, status, code = WRONG[case]
    answer = answered(app_of(), lambda client: client.post(path, **options))
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert code in ("", error["code"])
    assert list(answer.json()) == ["error"]
    assert "\n" not in error["message"]
    assert ": " in error["message"]


def test_a_body_that_is_no_json_object_is_told_with_the_mend() -> None:
    bodies = {b"{": "broken at character 2", b'{"prompts": }': "broken at character 13", b'{"\xe9": 1}': "not UTF-8"}
    bodies |= {b"[" * 200_000: "nested too deep", b"1" * 9000: "nested too deep, or with a number too long"}
    for body, why in bodies.items():
        sent = {"content": body, "headers": JSON}
        answer = answered(app_of(), lambda client, sent=sent: client.post("/v1/images/x/segment", **sent))
        message = answer.json()["error"]["message"]
        assert message.startswith(f"body: is no JSON ({why}")
        assert message.endswith("; send an object with the fields that /docs names")
    for sent in ({"content": b'{"prompts": ["a"]}'}, {"json": "a"}):
        answer = answered(app_of(), lambda client, sent=sent: client.post("/v1/images/x/segment", **sent))
        assert "Content-Type: application/json" in answer.json()["error"]["message"]
    answer = answered(app_of(), lambda client: client.get("/v1/segment"))
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.json()["error"]["message"].startswith("method: this path takes POST;")


def test_fields_are_utf8_whatever_the_form_says() -> None:
    """The same bytes would be other words in another encoding."""
    for charset in ("", "; charset=latin-1", "; charset=utf-16", "; charset=none"):
        sent = sent_as(b"prompts", "größe".encode(), charset)
        answer = answered(app_of(), lambda client, sent=sent: client.post("/v1/segment", **sent))
        assert answer.json()["results"][0]["prompt"] == "größe"
    sent = sent_as(b"prompts", "größe".encode("latin-1"), "; charset=latin-1")
    answer = answered(app_of(), lambda client: client.post("/v1/segment", **sent))
    assert answer.json()["error"] == {"code": "not_utf8", "message": "prompts: is not UTF-8; send it so"}


def test_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlseg.serve.serving.ANSWER_PIXELS", 2 * 40 * 50)
    for count, status in ((2, 200), (3, 413)):
        asked = {"prompts": ["polyp"] * count}
        answer = answered(app_of(), lambda client, asked=asked: client.post("/v1/segment", files=IMAGE, data=asked))
        assert answer.status_code == status


@pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=9-1", "bytes=99999999-", "lines=1-2", "x"])
def test_files_of_the_page_come_whole(wanted: str) -> None:
    """Also to who asks for a part: no other answer of the server's than its own."""
    for path in ("/", "/static/docs.css"):
        whole = answered(app_of(), lambda client, path=path: client.get(path))
        part = answered(app_of(), lambda client, path=path: client.get(path, headers={"Range": wanted}))
        assert (part.status_code, part.content) == (200, whole.content)
        assert part.headers["content-type"] == ("text/html" if path == "/" else "text/css") + "; charset=utf-8"


def test_a_deleted_image_is_nowhere_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its pixels nor its features; nor those of an image that was never kept."""
    met: list[weakref.ref[Any]] = []
    encode = engine._Place._encode_batch

    def noted(place: Any, images: Any) -> list[engine.Encoded]:
        found = encode(place, images)
        met.extend(weakref.ref(image) for image in images)
        met.extend(weakref.ref(tensor) for one in found for tensor in one.features.tensors.values())
        return found

    monkeypatch.setattr(engine._Place, "_encode_batch", noted)

    async def work(client: httpx2.AsyncClient) -> None:
        id = await uploaded(client)
        assert (await client.post(f"/v1/images/{id}/segment", json={"prompts": ["polyp"]})).status_code == 200
        assert any(one() is not None for one in met)
        assert (await client.delete(f"/v1/images/{id}")).status_code == 204
        sent = await client.post("/v1/segment", files=IMAGE, data={"prompts": ["polyp"]})
        assert sent.status_code == 200

    answered(app_of(), work)
    gc.collect()
    assert len(met) > 4
    assert [one() for one in met if one() is not None] == []


FLOODS = {
    "prompts that are numbers": b'{"prompts": [' + b"0," * 200_000 + b"0]}",
    "fields that nobody knows": b'{"prompts": ["a"]' + b"".join(b',"%x":0' % number for number in range(80_000)) + b"}",
    "items that are numbers": b'{"what": "coco", "items": [' + b"0," * 200_000 + b"0]}",
    "fields of an item": b'{"what": "coco", "items": [{"prompt": "a"'
    + b"".join(b',"%x":0' % number for number in range(80_000))
    + b"}]}",
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_body_of_errors_takes_no_more_memory_than_its_size_allows(case: str) -> None:
    """One error is told, and only one is made: a body of 8 MB could hold four million, of a kilobyte each."""
    path = "/v1/images/x/export" if b"items" in FLOODS[case] else "/v1/images/x/segment"
    ask: dict[str, Any] = {"content": FLOODS[case], "headers": {"Content-Type": "application/json"}}
    app = app_of()
    answered(app, lambda client: client.post(path, json={}))  # what is imported with the first request
    tracemalloc.start()
    try:
        answer = answered(app, lambda client: client.post(path, **ask))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert most < 40 * len(FLOODS[case])


def test_deep_images_are_read_as_their_model_reads_them() -> None:
    """The pixels above 8 bit of one model are not those of another."""
    from vlseg.records import IntensityPolicy

    deep = np.linspace(0, 4095, 40 * 50).reshape(40, 50).astype(np.uint16)
    models = {
        "full": predictor(),
        "bits": predictor(intensity=IntensityPolicy("bits_stored", bits=12)),
        "never": predictor(intensity=None),
    }

    async def work(client: httpx2.AsyncClient) -> None:
        files = {"image": ("a.png", png(deep))}
        sent = await client.post("/v1/images", files=files, data={"model": "bits"})
        place = f"/v1/images/{sent.json()['id']}/segment"
        answer = await client.post(place, json={"prompts": ["polyp"], "model": "bits"})
        grey = np.repeat((deep / 4095).astype(np.float32)[..., None], 3, axis=2)
        (want,) = models["bits"].segment(grey, ["polyp"])
        assert np.array_equal(picture(answer.json()["results"][0]["mask"]), want.mask)
        other = await client.post(place, json={"prompts": ["polyp"], "model": "full"})
        assert (other.status_code, other.json()["error"]["code"]) == (422, "read_otherwise")
        assert (await client.post("/v1/images", files=files, data={"model": "never"})).status_code == 422

    answered(app_of(models), work)


def test_a_full_model_refuses_images_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come again and again; told to come when half of the work is done."""
    monkeypatch.setattr(Batcher, "ahead", 40.0)
    monkeypatch.setattr(Serving, "read", None)  # calling it would be a 500
    for route, data in (("/v1/segment", {"prompts": "polyp"}), ("/v1/images", {})):
        answer = answered(app_of(), lambda c, route=route, data=data: c.post(route, files=IMAGE, data=data))
        # Encoding and decoding wait for 40 s each; 30 s are allowed.
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "50")
    monkeypatch.setattr(Batcher, "ahead", 16.0)
    assert answered(app_of(), lambda c: c.post("/v1/images", files=IMAGE)).headers["retry-after"] == "16"


def test_metrics_count_and_name_nothing() -> None:
    async def work(client: httpx2.AsyncClient) -> str:
        id = await uploaded(client)
        await client.post(f"/v1/images/{id}/segment", json={"prompts": ["secret words"]})
        await client.get("/secret/path")
        await client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
        text = (await client.get("/metrics")).text
        assert id not in text
        return text

    text = answered(app_of(), work)
    assert 'vlseg_requests_total{method="POST",route="/v1/images/-/segment",status="200"} 1.0' in text
    assert 'vlseg_requests_total{method="GET",route="/v1/models",status="401"} 1.0' in text
    assert 'vlseg_batch_size_count{model="tiny",step="decode"} 1.0' in text
    assert "vlseg_images 1.0" in text
    assert "vlseg_requests_open 0.0" in text
    assert "secret" not in text


def test_the_page_and_the_docs_need_nothing_from_elsewhere() -> None:
    async def work(client: httpx2.AsyncClient) -> None:
        for path in ("/", "/docs"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "//" not in answer.text.replace("https://json-schema.org", "")
            for asset in {asset for asset in answer.text.split('"') if asset.startswith("/static/")}:
                assert (await client.get(asset)).status_code == 200
        for path in ("/static/none.js", "/static/..%2fapp.py", "/static/../app.py"):
            assert (await client.get(path)).status_code == 404
        assert NOTICE in (await client.get("/")).text

    answered(app_of(), work)


def test_the_docs_have_every_route_and_field() -> None:
    async def work(client: httpx2.AsyncClient) -> tuple[str, dict[str, Any]]:
        return (await client.get("/docs")).text, (await client.get("/openapi.json")).json()

    page, openapi = answered(app_of(), work)
    assert {"/v1/segment", "/v1/images", "/v1/images/{id}/segment", "/v1/images/{id}/export"} <= set(openapi["paths"])
    for path in openapi["paths"]:
        assert path in page
    for field in ("unknown_words", "threshold", "prompts", "expires_in_s", "reads_text"):
        assert f"<code>{field}</code>" in page


def test_limits_reach_the_uploads() -> None:
    answer = answered(app_of(limits=Limits(pixels=100)), lambda client: client.post("/v1/images", files=IMAGE))
    assert answer.status_code == 413


def test_no_token_no_answer() -> None:
    async def work(client: httpx2.AsyncClient) -> list[int]:
        paths = ("/v1/models", "/metrics", "/openapi.json", "/docs", "/", "/static/docs.css", "/healthz")
        del client.headers["Authorization"]
        return [(await client.get(path)).status_code for path in paths]

    assert answered(app_of(), work) == [401] * 6 + [200]


def test_uploads_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large form must not be spooled to the disk."""
    import tempfile

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refused)
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    content = png(noise)
    assert len(content) > 4 * 2**20
    answer = answered(app_of(), lambda client: client.post("/v1/images", files={"image": ("a.png", content)}))
    assert answer.status_code == 201


def test_answers_of_one_request_are_not_anothers() -> None:
    """Fifty at once, all different: each gets the mask of its own image and prompt."""
    model, alone = predictor(), predictor()

    async def one(client: httpx2.AsyncClient, seed: int) -> bool:
        size = (30 + seed % 7, 44 - seed % 5)
        prompts = [f"polyp {seed}", "cyst"][: 1 + seed % 2]
        files = {"image": ("a.png", png(pixels(seed, size)))}
        answer = await client.post("/v1/segment", files=files, data={"prompts": prompts, "probability": "true"})
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        for result, want in zip(results, alone.segment(pixels(seed, size), prompts), strict=True):
            far = np.abs(want.probability - 0.5) > 1e-4
            assert np.array_equal(picture(result["mask"])[far], want.mask[far])
            shown = picture(result["probability"]).astype(float) / 100
            assert np.abs(shown - want.probability).max() < 0.0101
        return True

    async def work() -> tuple[list[bool], str]:
        async with asking(app_of({"tiny": model})) as client:
            done = await asyncio.gather(*(one(client, seed) for seed in range(50)))
            return done, (await client.get("/metrics")).text

    done, text = run(work())
    assert all(done)
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("vlseg_batch_size_")]
    batches = {name: float(value) for name, _, value in lines}
    assert batches['vlseg_batch_size_sum{model="tiny",step="encode"}'] == 50
    assert batches['vlseg_batch_size_count{model="tiny",step="encode"}'] < 40
