"""What the OpenAPI document says of each address beside what FastAPI finds out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emofuse.options import Options
from emofuse.server.problems import CODES, ErrorAnswer, ErrorNote

__all__ = ["body_of", "errors_of", "form_of"]

REQUEST = "8d1f0c6e2b7a4c55"
FILE = {"type": "string", "contentMediaType": "application/octet-stream"}


def errors_of(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that an address may answer with, each with an example."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, meaning = CODES[code]
        note = ErrorAnswer(error=ErrorNote(code=code, message=meaning, request_id=REQUEST))
        entry = found.setdefault(
            status,
            {
                "model": ErrorAnswer,
                "description": meaning,
                "content": {"application/json": {"examples": {}}},
            },
        )
        if meaning not in entry["description"]:
            entry["description"] += f"; or {meaning}"
        examples = entry["content"]["application/json"]["examples"]
        examples[code] = {"summary": meaning, "value": note.model_dump(mode="json")}
        if code in ("busy", "stopping"):
            entry["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return found


def form_of(
    model: type[Options], *, files: int, needs_file: bool, texts: Sequence[str] = ()
) -> dict[str, Any]:
    """Schema of a form that says the same as a JSON body.

    Args:
        model: the JSON body of one utterance or recording.
        files: parts ``file`` that are taken.
        needs_file: whether there must be one.
        texts: fields that may be repeated, one a file.
    """
    every = model.model_json_schema()["properties"]
    fields = {name: dict(schema) for name, schema in every.items() if name != "audio"}
    for name, schema in fields.items():
        if schema.get("type") == "object":
            fields[name] = {"type": "string", "description": f"JSON: {schema['description']}"}
        schema.pop("default", None)
    if files > 1:
        many = {name: {"type": "array", "items": {"type": "string"}} for name in texts}
        properties = {"file": {"type": "array", "items": FILE, "maxItems": files}, **many}
    else:
        properties = {"file": FILE, **fields}
    required = ["file"] if needs_file else []
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def body_of(
    model: type[Options], form: Mapping[str, Any], examples: Mapping[str, Any]
) -> dict[str, Any]:
    """The part ``requestBody`` of an operation."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    named = {name: {"value": value} for name, value in examples.items()}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": named},
                "multipart/form-data": {"schema": dict(form)},
            },
        }
    }
