"""Errors as RFC 9457 problem documents: what was wrong, and what to do."""

import logging
from collections.abc import Mapping
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from shared.db.transaction import RETRYABLE
from shared.errors import InboxMisconfigured, Unavailable

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
# Names of fields come from the caller; a long one helps nobody.
LONGEST_NAME = 60
# What the framework finds itself, and a body that is too large or cannot be read.
_FRAMEWORKS = {404: "not_found", 405: "method_not_allowed", 413: "content_too_large"}


class FieldProblem(BaseModel):
    """Where in the request, and what is wrong there; never the value."""

    where: str
    what: str


class ProblemDocument(BaseModel):
    """`code` is for programs, `title` and `detail` for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str = ""
    errors: list[FieldProblem] = Field(default=[], description="Fields that are wrong; never their values.")


class Problem(Exception):
    """Ends a request with this answer; nothing that it did is kept."""

    def __init__(
        self, status: int, code: str, title: str, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(title)
        self.document = ProblemDocument(title=title, status=status, code=code, detail=detail)
        self.headers = headers or {}


def not_found() -> Problem:
    """The same for an unknown id and for one of a brand that the caller may not see."""
    return Problem(404, "not_found", "There is no such thing for you")


def busy() -> Problem:
    return Problem(409, "busy", "Somebody else is changing this; try again", headers={"Retry-After": "1"})


def answer(problem: Problem) -> JSONResponse:
    document = problem.document
    return JSONResponse(document.model_dump(), document.status, headers=problem.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every way to fail gets a problem document; none shows a traceback or repeats a value."""
    app.add_exception_handler(Problem, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Unavailable, _away)
    app.add_exception_handler(InboxMisconfigured, _misconfigured)
    for lost in RETRYABLE:
        app.add_exception_handler(lost, _lost)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return answer(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problem = Problem(422, "invalid_request", "The request does not have the documented form")
    problem.document.errors = [
        FieldProblem(
            where=".".join(str(name)[:LONGEST_NAME] for name in e["loc"]), what=str(e["type"]).replace("_", " ")
        )
        for e in error.errors()
    ]
    return answer(problem)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _FRAMEWORKS.get(error.status_code, "bad_request")
    return answer(Problem(error.status_code, code, str(error.detail), headers=error.headers))


async def _away(_: Request, error: Exception) -> JSONResponse:
    # A lock that somebody holds too long is a conflict; everything else means that the database is away.
    if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
        return answer(busy())
    return answer(Problem(503, "unavailable", "The database is away; try again", headers={"Retry-After": "5"}))


async def _misconfigured(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InboxMisconfigured)
    return answer(Problem(409, error.code, "The configuration does not allow it; tell whoever keeps it", str(error)))


async def _lost(_: Request, _error: Exception) -> JSONResponse:
    return answer(busy())


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    log.error("a request failed: %s", type(error).__name__, exc_info=error)
    return answer(Problem(500, "internal", "This failed on our side"))


_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
_ETAG = {"ETag": {"description": "Of it as it is now", "schema": {"type": "string"}}}
_HEADERS: Mapping[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to say who you are", "schema": {"type": "string"}}},
    409: _RETRY_AFTER | _ETAG,
    412: _ETAG,
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
_EXAMPLES: Mapping[int, Problem] = {
    400: Problem(400, "no_idempotency_key", "Send an `Idempotency-Key`: any text that is this request's own"),
    401: Problem(401, "unauthorized", "Who are you?", "The token is unknown or expired"),
    403: Problem(403, "not_yours", "Somebody else holds it"),
    404: not_found(),
    409: Problem(409, "window_closed", "The channel does not let us write now", "Wait until they write."),
    412: Problem(412, "changed", "It has changed since you saw it; look again"),
    413: Problem(413, "content_too_large", "The request is too large"),
    422: Problem(422, "invalid_request", "The request does not have the documented form"),
    428: Problem(428, "no_if_match", "Send `If-Match` with the ETag that you saw"),
    429: Problem(429, "too_many_requests", "Too many requests; slow down"),
    500: Problem(500, "internal", "This failed on our side"),
    503: Problem(503, "unavailable", "The database is away; try again"),
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of an operation for its documentation; every one may also fail in the ways of all."""
    return {status: _response(status) for status in sorted({401, 403, 422, 429, 500, 503, *statuses})}


def unguarded() -> dict[int | str, dict[str, Any]]:
    """The same for one that asks nobody who they are, and no database."""
    return {500: _response(500)}


def _response(status: int) -> dict[str, Any]:
    content = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
    return {
        "description": _EXAMPLES[status].document.title,
        "headers": _HEADERS.get(status, {}),
        "content": {MEDIA_TYPE: content | {"example": _EXAMPLES[status].document.model_dump()}},
    }
