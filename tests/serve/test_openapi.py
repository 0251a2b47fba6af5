"""The description of the API is true: whatever it allows is answered as it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi import checks
from served import HEADERS, app_of, asking, pixels, png, run

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
            if "requestBody" in operation and path != "/v1/corrections":
                assert "429" in operation["responses"]
    assert ("post", "/v1/corrections") not in {(m, p) for p, ms in app_of().openapi()["paths"].items() for m in ms}


def test_examples_are_what_they_are_examples_of() -> None:
    schemas = APP.openapi()["components"]["schemas"]
    shown = {name: schema["examples"] for name, schema in schemas.items() if "examples" in schema}
    assert {"Answer", "Result", "ImageInfo", "SegmentAsk", "ExportAsk"} <= set(shown)
    for name, examples in shown.items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        for example in examples:
            Draft202012Validator(whole).validate(example)


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
