"""What the stand-ins of Meta's products share on our calls: tokens, versions, and errors as the Graph API words them.

Source: Meta for Developers, "Graph API - Error handling", v25.0.
"""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.sandbox import behaviour
from services.sandbox.behaviour import Refusal
from services.sandbox.commands import Misbehaviour
from shared.ids import new_id

VERSION = re.compile(r"v\d+\.\d+")
# Codes that the vendor does not send with 400.
STATUSES = {1: 500, 2: 500, 190: 401, 1200: 500, 131000: 500, 131016: 503, 130429: 429}


class GraphError(Refusal):
    """An error as the Graph API words it; `details` are WhatsApp's."""

    def __init__(
        self, code: int, text: str, subcode: int | None = None, kind: str = "OAuthException", details: str = ""
    ) -> None:
        super().__init__(text)
        self.code, self.text, self.subcode, self.kind, self.details = code, text, subcode, kind, details
        self.status = STATUSES.get(code, 400)
        self.verdict = f"refused {code}/{subcode}: {text}"

    def body(self) -> dict[str, Any]:
        numbered = self.text if self.code == 190 or self.kind != "OAuthException" else f"(#{self.code}) {self.text}"
        error: dict[str, Any] = {"message": numbered, "type": self.kind, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        return {"error": error | {"fbtrace_id": f"A{new_id().hex[:22]}"}}


def token_of(request: Request) -> str:
    """The bearer token; one in the query, which the vendor would take as well, ends up in logs and is none here."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def check_version(request: Request) -> None:
    """Raises GraphError for a path that names none."""
    version = request.path_params.get("version")
    if version is not None and not VERSION.fullmatch(version):
        raise GraphError(2500, f"Unknown path components: /{version}")


def bad_token() -> GraphError:
    return GraphError(190, "Invalid OAuth access token - Cannot parse access token")


def no_such_object(method: str) -> GraphError:
    text = f"Unsupported {method} request. Object with this ID does not exist or cannot be loaded"
    return GraphError(100, text, 33, "GraphMethodException")


def unknown_path(request: Request) -> GraphError:
    return GraphError(2500, f"Unknown path components: /{request.path_params['path']}")


def check_keys(given: dict[str, Any], known: set[str], where: str) -> None:
    """Raises GraphError for a field that the vendor does not know."""
    unknown = sorted(set(given) - known)
    if unknown:
        raise GraphError(100, f'Invalid keys "{", ".join(unknown)}" were found in {where}.')


def failure(wanted: Misbehaviour) -> Response | None:
    """The answer for the modes with a code or a status, None for the others. Raises GraphError."""
    if wanted.mode == "error_in_200":
        return JSONResponse(GraphError(wanted.code or 0, wanted.text, wanted.subcode).body())
    if wanted.mode == "error":
        raise GraphError(wanted.code or 0, wanted.text, wanted.subcode)
    if wanted.mode == "429":
        body = GraphError(613, "Calls to this api have exceeded the rate limit.").body()
        return JSONResponse(body, 429, behaviour.retry_after(wanted))
    if wanted.mode in ("500", "503"):
        page = "<html><body>Sorry, something went wrong.</body></html>"
        return Response(page, int(wanted.mode), behaviour.retry_after(wanted), "text/html")
    return None
