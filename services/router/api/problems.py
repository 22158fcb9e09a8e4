"""Errors as RFC 9457 problem documents: what was wrong, and what to do."""

import logging
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from shared.errors import Unavailable

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class ProblemDocument(BaseModel):
    """`code` is for programs, `title` and `detail` for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str = ""
    errors: list[dict[str, Any]] = Field(default=[], description="Fields that are wrong; never their values.")


class Problem(Exception):
    """Ends a request with this answer; nothing that it did is kept."""

    def __init__(
        self, status: int, code: str, title: str, detail: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(title)
        self.document = ProblemDocument(title=title, status=status, code=code, detail=detail)
        self.headers = headers or {}


def not_found() -> Problem:
    """The same for an unknown id and for one of a brand that the caller may not see."""
    return Problem(404, "not_found", "There is no such thing for you")


def answer(problem: Problem) -> JSONResponse:
    document = problem.document
    return JSONResponse(document.model_dump(), document.status, headers=problem.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every way to fail gets a problem document; none shows a traceback or repeats a value."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return answer(error)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        problem = Problem(422, "invalid_request", "The request does not have the documented form")
        problem.document.errors = [
            {"where": ".".join(map(str, e["loc"])), "what": str(e["type"]).replace("_", " ")} for e in error.errors()
        ]
        return answer(problem)

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        title = str(error.detail)
        return answer(Problem(error.status_code, f"http_{error.status_code}", title, headers=dict(error.headers or {})))

    async def away(_: Request, error: Exception) -> JSONResponse:
        # A lock that somebody holds too long is a conflict; everything else means that the database is away.
        if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
            return answer(
                Problem(409, "busy", "Somebody else is changing this; try again", headers={"Retry-After": "1"})
            )
        return answer(Problem(503, "unavailable", "The database is away; try again", headers={"Retry-After": "5"}))

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("a request failed: %s", type(error).__name__, exc_info=error)
        return answer(Problem(500, "internal", "This failed on our side"))

    app.add_exception_handler(Problem, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Unavailable, away)
    app.add_exception_handler(Exception, unexpected)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of an operation for its documentation; every one may also fail with 401, 422, 429 and 503."""
    return {
        status: {"model": ProblemDocument, "content": {MEDIA_TYPE: {}}}
        for status in sorted({400, 401, 403, 422, 429, 500, 503, *statuses})
    }
