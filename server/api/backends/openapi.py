"""The description of the HTTP API as OpenAPI 3.1, made from the table and its models."""

import hashlib
import re
from functools import cache
from typing import Any

import orjson
from aiohttp import hdrs
from pydantic import BaseModel, RootModel
from pydantic.json_schema import models_json_schema

from server.api.backends.audit import REQUEST_ID
from server.api.backends.reading import IDEMPOTENCY_KEY, KEY_PATTERN
from server.api.backends.refusals import UnsupportedMediaType
from server.api.backends.shapes import ErrorAnswer
from server.api.backends.table import PREFIX, Call, NoBody, NoParams, Operation, Reply, Table
from server.domain.errors import MaruError
from server.wire.words import Json
from server.wire.words import Operation as Name

CACHED_S = 3_600
"""How long the description may be kept without asking."""

_NAMED = re.compile(r"{(\w+)}")

_REFS = "#/components/schemas/{model}"

_HEADERS = {
    REQUEST_ID: ("The request's id, also in the server's log: the caller's, or a new one.", {"type": "string"}),
    hdrs.RETRY_AFTER: ("Seconds to wait before a retry.", {"type": "integer", "minimum": 1}),
    hdrs.ETAG: ("The version of what is answered.", {"type": "string"}),
    "Idempotency-Replayed": ("`true`: the answer tells of an earlier message.", {"type": "string", "const": "true"}),
    hdrs.WWW_AUTHENTICATE: ("How to authenticate.", {"type": "string"}),
}


class DescriptionAnswer(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


def operations(table: Table) -> list[Operation[Any, Any]]:
    """Return the operation that describes those of the table, and itself."""

    @cache
    def described() -> tuple[Json, str]:
        document = describe([*table])
        return document, hashlib.sha256(orjson.dumps(document)).hexdigest()[:16]

    async def read(_: Call[NoParams, NoBody]) -> Reply:
        document, etag = described()
        return Reply(document, {hdrs.CACHE_CONTROL: f"public, max-age={CACHED_S}"}, etag)

    return [
        Operation(
            id=Name.READ_DESCRIPTION,
            summary="Read this description.",
            method="GET",
            path="/openapi.json",
            handle=read,
            answer=DescriptionAnswer,
            tagged=True,
        )
    ]


def describe(table: Table) -> Json:
    """Return the document."""
    models = {operation.body for operation in table if operation.has_body}
    models |= {operation.answer for operation in table if operation.answer is not None} | {ErrorAnswer}
    ordered: list[type[BaseModel]] = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REFS)
    paths: Json = {}
    for operation in table:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Maru: HTTP API for backends",
            "version": "1",
            "description": "Errors, limits and retries: PROTOCOL.md, 'HTTP API'. Unknown fields are ignored.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "headers": {
                str(name): {"description": text, "schema": schema} for name, (text, schema) in _HEADERS.items()
            },
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation[Any, Any]) -> Json:
    described: Json = {"operationId": operation.id.value, "summary": operation.summary}
    if operation.scope is not None:
        described |= {"description": f"Scope `{operation.scope}`.", "security": [{"apiKey": []}]}
    if parameters := [*_parameters(operation), *_headers(operation)]:
        described["parameters"] = parameters
    if operation.has_body:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    described["responses"] = _responses(operation)
    return described


def _parameters(operation: Operation[Any, Any]) -> list[Json]:
    schema, in_path = operation.params.model_json_schema(), set(_NAMED.findall(operation.path))
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in required,
            "description": found.pop("description", ""),
            "schema": found,
        }
        for name, found in ((name, _not_null(found)) for name, found in schema.get("properties", {}).items())
    ]


def _not_null(schema: Json) -> Json:
    """Return the schema of an optional field without null: in a URL it is left out instead."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return {name: value for name, value in schema.items() if name != "title"}
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default", "title"}}
    option: Json = options[0]
    return option | rest


def _headers(operation: Operation[Any, Any]) -> list[Json]:
    found = []
    if operation.idempotent:
        text = "Within 24 hours, a repeat with the same key, for the same user, finds what the first request has done."
        found.append(_header(IDEMPOTENCY_KEY, text, {"type": "string", "pattern": KEY_PATTERN}))
    if operation.tagged:
        found.append(_header(hdrs.IF_NONE_MATCH, "The `ETag` of an earlier answer.", {"type": "string"}))
    return found


def _header(name: str, text: str, schema: Json) -> Json:
    return {"name": str(name), "in": "header", "required": False, "description": text, "schema": schema}


def _responses(operation: Operation[Any, Any]) -> Json:
    done: Json = {"description": "Done.", "headers": _refs(REQUEST_ID)}
    if operation.answer is not None:
        done["content"] = _json(operation.answer)
    if operation.idempotent:
        done["headers"] |= _refs("Idempotency-Replayed")
    responses = {str(operation.status): done}
    if operation.tagged:
        done["headers"] |= _refs(hdrs.ETAG)
        responses["304"] = {"description": "Not modified.", "headers": _refs(REQUEST_ID, hdrs.ETAG)}
    errors: list[type[MaruError]] = [*operation.errors]
    if operation.has_body:
        errors.append(UnsupportedMediaType)
    for status in sorted({error.status for error in errors}):
        codes = dict.fromkeys(f"`{error.code}`" for error in errors if error.status == status)
        retries = any(error.retryable for error in errors if error.status == status)
        headers = _refs(REQUEST_ID, *([hdrs.RETRY_AFTER] if retries else []))
        headers |= _refs(hdrs.WWW_AUTHENTICATE) if "`unauthenticated`" in codes else {}
        responses[str(status)] = {
            "description": ", ".join(codes),
            "headers": headers,
            "content": _json(ErrorAnswer),
        }
    return responses


def _json(model: type[BaseModel]) -> Json:
    return {"application/json": {"schema": {"$ref": _REFS.format(model=model.__name__)}}}


def _refs(*names: str) -> Json:
    return {str(name): {"$ref": f"#/components/headers/{name}"} for name in names}
