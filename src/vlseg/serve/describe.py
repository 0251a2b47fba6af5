"""The description of the API as a page that needs no script and nothing from elsewhere."""

import json
from collections.abc import Mapping
from typing import Any

import jinja2

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("vlseg.serve", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def page_of(openapi: Mapping[str, Any]) -> str:
    """An OpenAPI description as HTML: each route with its fields, answers and examples."""
    schemas = openapi.get("components", {}).get("schemas", {})
    routes = [
        _route(path, method, operation, schemas)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    objects = [{"name": name, "shape": _shape(name, schema, schemas)} for name, schema in schemas.items()]
    return ENVIRONMENT.get_template("docs.html").render(info=openapi["info"], routes=routes, objects=objects)


def _route(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    bodies = [_shape(kind, value.get("schema", {}), schemas) for kind, value in content.items()]
    answers = []
    for status, answer in operation["responses"].items():
        shapes = [_shape(kind, value.get("schema", {}), schemas) for kind, value in answer.get("content", {}).items()]
        answers.append({"status": status, "about": answer["description"], "shapes": shapes if status < "3" else []})
    return {
        "id": f"{method}{path}".translate(str.maketrans("/{}", "---")),
        "method": method.upper(),
        "path": path,
        "about": operation.get("description", operation.get("summary", "")),
        "parameters": operation.get("parameters", []),
        "bodies": bodies,
        "answers": answers,
    }


def _shape(kind: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    known = _resolved(schema, schemas)
    required = set(known.get("required", []))
    fields = [
        {
            "name": name,
            "type": _type(value),
            "required": name in required,
            "about": value.get("description", _resolved(value, schemas).get("description", "")),
        }
        for name, value in known.get("properties", {}).items()
    ]
    examples = [json.dumps(example, indent=2, ensure_ascii=False) for example in known.get("examples", [])]
    return {"kind": kind, "fields": fields, "examples": examples}


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _type(schema: Mapping[str, Any]) -> str:
    """In words: "list of text", "number or null"; an object by its name."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        inside = schema.get("items", {})
        return f"list of {_type(inside)}" if inside else "list"
    if schema.get("format") == "binary":
        return "file"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    kind = str(schema.get("type", "anything"))
    return words.get(kind, kind)
