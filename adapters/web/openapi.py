"""The description of the HTTP API in the words of OpenAPI 3.1, served at /openapi.json.

It describes what programs may call, and nothing of the pages. A test holds it against the table of
routes, and generated requests hold the answers against it.
"""

from __future__ import annotations

from typing import Any, Final

from adapters.web.shell import CODES

_SEEN: Final[dict[str, Any]] = {
    "sentiment": {"type": ["string", "null"], "description": "the label; null: nobody asks for it"},
    "intensity": {"type": "number", "minimum": -1, "maximum": 1},
    "strong": {"type": "number", "minimum": 0, "maximum": 1},
}
_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What was heard in a message, what was answered, and who has the conversation.",
    "properties": {
        **_SEEN,
        "mood": {"type": "number", "minimum": -1, "maximum": 1},
        "response": {
            "type": ["string", "null"],
            "description": "the reply; null when nothing is said, or a later message is answered",
        },
        "answered_by": {
            "type": "integer",
            "description": "the later message of a burst whose answer is for this one, too",
        },
        "escalated": {"type": "boolean"},
        "owner": {"enum": ["bot", "queue", "human"]},
        "case": {"type": ["integer", "null"]},
        "message_id": {"type": "integer"},
        "model": {"type": "string"},
        "prompt_version": {"type": "string"},
    },
    "required": [
        *_SEEN,
        *("mood", "response", "escalated", "owner", "case", "message_id", "model"),
        "prompt_version",
    ],
}
_CALL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 1, "pattern": r"[0-9A-Za-z\u4e00-\u9fff]"},
        "user": {
            "type": ["string", "null"],
            "maxLength": 200,
            "pattern": "^[0-9A-Za-z]",
            "description": "Who writes; each of your users needs a name of their own. "
            "Names that begin with 'room:' are taken.",
        },
        "conversation": {
            "type": ["string", "null"],
            "maxLength": 200,
            "pattern": "^[0-9A-Za-z]",
            "description": "Where they write; without one, the user's own place.",
        },
    },
    "required": ["text"],
    "example": {"text": "Hello", "user": "ann"},
}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"enum": list(CODES)},
                "message": {"type": "string", "minLength": 1},
            },
            "required": ["code", "message"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}
_WHY: Final = {
    400: "The body cannot be used; the message says why.",
    401: "The key is missing or wrong.",
    404: "There is no such place.",
    405: "There is no such method here.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    414: "The address is too long.",
    429: "Too many messages of this user, or too many wrong keys.",
    431: "The headers are too large.",
    503: "Not now; Retry-After says when.",
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _of(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {kind: {"schema": schema}}}


def _refusals(*codes: int) -> dict[str, Any]:
    problem = _of("application/json", _ref("Problem"))
    return {str(code): {"description": _WHY[code], **problem} for code in (*codes, 405, 414, 431)}


def _state(what: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"description": what, **_of("application/json", schema)}


def _push(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "post": {
            "summary": "Take one update of Telegram in",
            "operationId": "push_to_bot" if parameters else "push",
            "security": [{"webhook": []}],
            "parameters": list(parameters),
            "requestBody": {"required": True, **_of("application/json", {"type": "object"})},
            "responses": {
                "200": {"description": "It is on disk."},
                **_refusals(400, 401, 404, 408, 413, 429),
                "503": {"description": "It could not be kept: send it again."},
            },
        }
    }


_READY: Final = {"ready": {"type": "boolean"}, "why": {"type": ["string", "null"]}}
_PATHS: Final[dict[str, Any]] = {
    "/chat": {
        "post": {
            "summary": "Say something as one of your users, and get the answer",
            "operationId": "chat",
            "security": [{"token": []}, {}],
            "requestBody": {"required": True, **_of("application/json", _ref("Call"))},
            "responses": {
                "200": {
                    "description": "The answer; with 'Accept: text/event-stream' the events "
                    "tag, token and done, and waiting while the model is busy. The data of done "
                    "is an Answer; an event error holds a Problem.",
                    "content": {
                        "application/json": {"schema": _ref("Answer")},
                        "text/event-stream": {},
                    },
                },
                **_refusals(400, 401, 408, 413, 429, 503),
            },
        }
    },
    "/livez": {
        "get": {
            "summary": "Does the process run",
            "operationId": "livez",
            "responses": {
                "200": _state("It runs.", {"live": {"const": True}}),
                **_refusals(),
            },
        }
    },
    "/readyz": {
        "get": {
            "summary": "Are messages answered",
            "operationId": "readyz",
            "responses": {
                "200": _state("They are.", _READY),
                "503": _state("They are not; `why` says why.", _READY),
                **_refusals(),
            },
        }
    },
    "/metrics": {
        "get": {
            "summary": "Figures in Prometheus' text format, for this machine and for the token",
            "operationId": "metrics",
            "security": [{"token": []}, {}],
            "responses": {
                "200": {"description": "The figures.", **_of("text/plain", {"type": "string"})},
                **_refusals(401, 429, 503),
            },
        }
    },
    "/openapi.json": {
        "get": {
            "summary": "This document",
            "operationId": "openapi",
            "responses": {
                "200": {
                    "description": "OpenAPI 3.1.",
                    **_of("application/json", {"type": "object", "required": ["openapi"]}),
                },
                **_refusals(),
            },
        }
    },
    "/telegram/webhook": _push(),
    "/telegram/webhook/{bot}": _push(
        {
            "name": "bot",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[a-z0-9_]{1,20}$"},
            "description": "the name of a further bot",
        }
    ),
}
DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Heed",
        "version": "1",
        "description": "Answers people with memory, hears how they feel, brings a human in.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "paths": _PATHS,
    "components": {
        "schemas": {"Call": _CALL, "Answer": _ANSWER, "Problem": _PROBLEM},
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "http.token. Where none is set, the API answers this machine alone.",
            },
            "webhook": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Telegram-Bot-Api-Secret-Token",
            },
        },
    },
}
