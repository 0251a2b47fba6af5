"""The description of the API is true: whatever it allows is answered as it says."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from PIL import Image
from schemathesis.specs.openapi import checks
from served import HEADERS, app_of, asking, pixels, png, run

from vlseg.evaluation.image_files import IMAGE_SUFFIXES
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.uploads import FORMATS, read_upload

APP = app_of()
OPERATIONS = {
    ("post", "/v1/segment"),
    ("post", "/v1/images"),
    ("post", "/v1/images/{id}/segment"),
    ("delete", "/v1/images/{id}"),
    ("post", "/v1/images/{id}/export"),
    ("post", "/v1/corrections"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{name}/words"),
    ("get", "/healthz"),
    ("get", "/metrics"),
}


def test_it_has_every_route_with_its_errors(tmp_path: Path) -> None:
    openapi = app_of(corrections=tmp_path / "c").openapi()
    found = {(method, path) for path, methods in openapi["paths"].items() for method in methods}
    assert found == OPERATIONS
    for path, methods in openapi["paths"].items():
        for operation in methods.values():
            assert operation["description"]
            assert ("security" in operation) == (path != "/healthz")
            assert path == "/healthz" or {"401", "403", "422", "503"} <= set(operation["responses"])
            if path != "/healthz":
                told = [operation["responses"][status]["headers"] for status in ("429", "503")]
                assert [list(headers) for headers in told] == [["Retry-After"]] * 2
            assert ("411" in operation["responses"]) == ("requestBody" in operation)
            own = [one for one in operation.get("parameters", []) if one["name"] == "Vlseg-Session"]
            assert len(own) == ("images" in path or path in ("/v1/segment", "/v1/corrections"))
            assert all(one["in"] == "header" and not one["required"] and one["description"] for one in own)
    assert ("post", "/v1/corrections") not in {(m, p) for p, ms in app_of().openapi()["paths"].items() for m in ms}


def test_examples_are_what_they_are_examples_of(tmp_path: Path) -> None:
    openapi = app_of(corrections=tmp_path / "c").openapi()
    schemas = openapi["components"]["schemas"]
    shown = {name: schema["examples"] for name, schema in schemas.items() if "examples" in schema}
    whole = {"Answer", "ImageInfo", "Models", "Words", "ErrorBody", "Corrected"}  # what routes take and give as a whole
    assert {*whole, "Result", "SegmentAsk", "ExportAsk", "CorrectionAsk"} == set(shown)
    for name, examples in shown.items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        for example in examples:
            Draft202012Validator(whole).validate(example)


def test_examples_are_answered_when_they_are_sent(tmp_path: Path) -> None:
    """Only the image's id is put in."""
    app = app_of(corrections=tmp_path / "c")
    openapi = app.openapi()
    examples = {name: schema.get("examples", []) for name, schema in openapi["components"]["schemas"].items()}
    size = (examples["Answer"][0]["height"], examples["Answer"][0]["width"])
    session = next(
        one for one in openapi["paths"]["/v1/segment"]["post"]["parameters"] if one["name"] == "Vlseg-Session"
    )
    form = openapi["paths"]["/v1/segment"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]

    async def work() -> None:
        async with asking(app, session["schema"]["examples"][0]) as client:
            files = {"image": ("a.png", png(pixels()[: size[0], : size[1]]))}
            for prompts in form["properties"]["prompts"]["examples"]:
                answer = await client.post("/v1/segment", files=files, data={"prompts": prompts})
                assert (answer.status_code, len(answer.json()["results"])) == (200, len(prompts))
            place = f"/v1/images/{(await client.post('/v1/images', files=files)).json()['id']}"
            for ask in examples["SegmentAsk"]:
                assert (await client.post(f"{place}/segment", json=ask)).status_code == 200
            for ask in examples["ExportAsk"]:
                assert (await client.post(f"{place}/export", json=ask)).status_code == 200
            for ask in examples["CorrectionAsk"]:
                named = {**ask, "image_id": place.rpartition("/")[2]}
                assert (await client.post("/v1/corrections", json=named)).status_code == 201

    run(work())


def test_a_form_lists_what_is_read_as_an_image() -> None:
    """In one way on all places: the decoders that run, the description, the refusal, the docs, a folder's suffixes."""
    listed = "PNG, JPEG, WebP, BMP, TIFF or GIF"
    assert tuple(listed.upper().replace(" OR", ",").split(", ")) == FORMATS
    for path in ("/v1/segment", "/v1/images"):
        content = APP.openapi()["paths"][path]["post"]["requestBody"]["content"]
        assert listed in content["multipart/form-data"]["schema"]["properties"]["image"]["description"]
    with pytest.raises(Refused, match=listed):
        read_upload(b"nothing", "image", Limits())
    page = (Path(__file__).resolve().parents[2] / "docs" / "what-is-stored.md").read_text(encoding="utf-8")
    assert f"**Images** are {listed}" in page
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in IMAGE_SUFFIXES} == set(FORMATS)
    for kind in FORMATS:
        buffer = io.BytesIO()
        Image.fromarray(pixels()).save(buffer, format=kind)
        assert read_upload(buffer.getvalue(), "image", Limits()).pixels.shape == pixels().shape


def test_answers_fit_the_description() -> None:
    schemas = APP.openapi()["components"]["schemas"]

    async def work() -> dict[str, Any]:
        async with asking(app_of()) as client:
            files = {"image": ("a.png", png(pixels()))}
            return {
                "Answer": await client.post("/v1/segment", files=files, data={"prompts": ["a"], "probability": "1"}),
                "ImageInfo": await client.post("/v1/images", files=files),
                "Models": await client.get("/v1/models"),
                "Words": await client.get("/v1/models/tiny/words"),
                "ErrorBody": await client.delete("/v1/images/none"),
            }

    for name, answer in run(work()).items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        Draft202012Validator(whole).validate(answer.json())


CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
]
schema = schemathesis.openapi.from_asgi("/openapi.json", APP, headers={**HEADERS, "Host": "localhost"})


@pytest.fixture
def small_numbers() -> Iterator[None]:
    """Loading a model makes the smallest numbers 0 in this process, which Hypothesis takes for a broken one."""
    flushed = (torch.tensor(1e-40) * 1).item() == 0
    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(flushed)


@pytest.mark.slow
@pytest.mark.usefixtures("small_numbers")
@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_sent_makes_it_fail(case: schemathesis.Case) -> None:
    answer = case.call(headers={**HEADERS, "Host": "localhost"})
    assert answer.status_code < 500
    # All fields of a form are text: what is no string there is one on the way.
    known = [one for one in CHECKS if case.media_type != "multipart/form-data" or one != checks.negative_data_rejection]
    case.validate_response(answer, checks=known)
