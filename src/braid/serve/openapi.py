"""The OpenAPI schema: every route, every error, an example for each task of the models that are served."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from braid.serve.schemas import (
    EmbedAnswer,
    EmbedRequest,
    ErrorAnswer,
    PredictAnswer,
    PredictRequest,
    ReloadRequest,
    TasksAnswer,
)

ROUTES = {"/predict": "post", "/embed": "post", "/admin/reload": "post"}
"""Methods of the routes that are not read with GET."""

ERRORS = {
    400: "The body is no JSON.",
    401: "The key is missing or wrong.",
    408: "The body came too slowly.",
    413: "Too many bytes, inputs or tokens.",
    422: "The request does not fit: what, and where.",
    429: "The queue is full; `Retry-After` says when to come again.",
    503: "The models are being loaded.",
    504: "The deadline is over.",
}
SCHEMAS: tuple[type[BaseModel], ...] = (
    PredictRequest,
    PredictAnswer,
    EmbedRequest,
    EmbedAnswer,
    TasksAnswer,
    ReloadRequest,
    ErrorAnswer,
)
TEMPLATE = "#/components/schemas/{model}"


def schema_of(tasks: dict[str, Any], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 for what `GET /tasks` answers."""
    _, definitions = models_json_schema([(kind, "validation") for kind in SCHEMAS], ref_template=TEMPLATE)
    predicts, embeds = _examples(tasks)
    paths = {
        "/predict": _post("Predict tasks for texts, all in one pass.", PredictRequest, PredictAnswer, predicts),
        "/embed": _post("One vector for each text.", EmbedRequest, EmbedAnswer, embeds),
        "/tasks": _get("What the models can do.", TasksAnswer, 401),
        "/health": _get("As /health/ready.", None, 503),
        "/health/live": _get("Whether the process answers.", None),
        "/health/ready": _get("Whether it takes requests: models loaded, not about to stop.", None, 503),
        "/metrics": {"get": {"summary": "Figures for Prometheus.", "responses": {"200": _text("Figures.")}}},
        "/admin/reload": _reload(),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Braid",
            "version": version,
            "description": "Many tasks on a text in one pass of one encoder.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _examples(tasks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    predicts: dict[str, Any] = {}
    for model, facts in tasks["models"].items():
        for name, task in facts["tasks"].items():
            if task["example"] is not None:
                value: dict[str, Any] = {"inputs": [task["example"]], "tasks": [name]}
                if model != tasks["default"]:
                    value["model"] = model
                predicts[f"{model}.{name}"] = {"summary": f"{name} ({task['type']}) of {model}", "value": value}
    return predicts, {"texts": {"summary": "Two texts", "value": {"texts": ["one text", "another"]}}}


def _reference(kind: type[BaseModel]) -> dict[str, str]:
    return {"$ref": TEMPLATE.format(model=kind.__name__)}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _errors(*codes: int) -> dict[str, Any]:
    return {str(code): _json(ERRORS[code], _reference(ErrorAnswer)) for code in codes}


def _post(
    summary: str, given: type[BaseModel], answer: type[BaseModel], examples: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    body = {"required": True, "content": {"application/json": {"schema": _reference(given), "examples": examples}}}
    responses = {"200": _json("The answer.", _reference(answer)), **_errors(*ERRORS)}
    return {"post": {"summary": summary, "requestBody": body, "responses": responses}}


def _get(summary: str, answer: type[BaseModel] | None, *codes: int) -> dict[str, dict[str, Any]]:
    schema = {"type": "object"} if answer is None else _reference(answer)
    responses = {"200": _json("The answer.", schema)}
    if answer is None and 503 in codes:  # what is not ready says so in the same words
        responses["503"] = _json("It does not take requests now.", schema)
        codes = ()
    return {"get": {"summary": summary, "responses": {**responses, **_errors(*codes)}}}


def _reload() -> dict[str, dict[str, Any]]:
    responses = {
        "200": _json("Loaded.", {"type": "object"}),
        "202": _json("All workers load.", {"type": "object"}),
        "403": _json("Only a server with a key can be told so.", _reference(ErrorAnswer)),
        **_errors(400, 401, 408, 413, 422, 503),
    }
    body = {"content": {"application/json": {"schema": _reference(ReloadRequest)}}}
    return {
        "post": {
            "summary": "Load a model anew from its directory.",
            "requestBody": body,
            "responses": responses,
        }
    }
