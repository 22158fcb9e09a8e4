"""Files of agents: uploaded once, then named by the replies of the same brand."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, StringConstraints
from starlette.datastructures import UploadFile

from services.router.api.auth import Actor, Caller
from services.router.api.context import Api, Context
from services.router.api.documents import messages as d
from services.router.api.limits import UPLOAD_LIMIT, UPLOADS
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import Done, Form, IdempotencyKey, effect
from shared.db.transaction import Transaction
from shared.errors import Rejected, Unavailable
from shared.events import Attachment
from shared.links import file_name
from shared.sniffing import kind_of, media_type_of

api = APIRouter(tags=["replies"])
MOST_OF_A_REPLY = 10
BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM = {"schema": {"type": "object", "properties": {"file": BINARY["schema"]}, "required": ["file"]}}
CONTENT = {"application/octet-stream": BINARY, "multipart/form-data": FORM}
UPLOAD = {"requestBody": {"required": True, "content": CONTENT}}


class Named(Form):
    """A file of the conversation's brand: uploaded, or one that a customer sent."""

    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] = Field(examples=["0" * 64])
    name: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] = Field("", examples=["label.pdf"])


@api.post(
    UPLOADS, response_model=d.Uploaded, status_code=201, responses=responses(400, 404, 409, 413, 503),
    operation_id="uploadAttachment", openapi_extra=UPLOAD,
)  # fmt: skip
async def upload(
    request: Request,
    context: Context,
    who: Actor,
    brand_id: Annotated[UUID | None, Query(description="Needed by those who serve several brands")] = None,
    name: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$", description="What people see")] = "",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Keeps a file of at most 25 MB: the body itself, or the first file of a form. The same bytes are kept once."""
    brand = _brand(who, brand_id)
    content, told = await _content(request)
    shown = file_name(name or told)
    media_type = media_type_of(content, shown)

    async def work(_tx: Transaction) -> Done:
        sha256 = await _kept(context, brand, content)
        document = d.Uploaded(brand_id=brand, sha256=sha256, name=shown, media_type=media_type, size=len(content))
        return Done(document, 201)

    return await effect(context, who, request, idempotency_key, work)


def _brand(who: Caller, wanted: UUID | None) -> UUID:
    """Raises Problem 404 for a brand that the caller does not serve, 422 where it is not clear which."""
    if wanted is not None:
        if wanted not in who.brands:
            raise not_found()
        return wanted
    if len(who.brands) != 1:
        raise Problem(422, "no_brand", "Say for which brand: `brand_id`")
    return who.brands[0]


async def _content(request: Request) -> tuple[bytes, str]:
    """The bytes and what the form calls them. Raises Problem 422 for an empty file or none, 413 for a large one."""
    # Read whole before the form is: its hash tells a repetition of this request.
    content, name = await request.body(), ""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=10) as form:
            file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
            content, name = (await file.read(), file.filename or "") if file else (b"", "")
    if not content:
        raise Problem(422, "no_file", "There is no file in the request")
    if len(content) > UPLOAD_LIMIT:
        raise Problem(413, "too_large", f"At most {UPLOAD_LIMIT} bytes")
    return content, name


async def _kept(context: Api, brand_id: UUID, content: bytes) -> str:
    try:
        return await context.objects.put(brand_id, content)
    except Unavailable as error:
        raise Problem(503, error.code, "Files cannot be kept right now; try again") from error


async def named(context: Api, brand_id: UUID, wanted: Sequence[Named]) -> list[Attachment]:
    """The attachments of a reply. Raises Problem 422 for a file that the brand does not have."""
    return [await _named(context, brand_id, file) for file in wanted]


async def _named(context: Api, brand_id: UUID, file: Named) -> Attachment:
    try:
        content = await context.objects.get(brand_id, file.sha256)
    except Rejected as error:
        raise Problem(422, error.code, "The brand has no such file; upload it first", file.sha256) from None
    except Unavailable as error:
        raise Problem(503, error.code, "Files cannot be read right now; try again") from error
    name = file_name(file.name) if file.name else ""
    media_type = media_type_of(content, name)
    return Attachment(kind=kind_of(media_type), name=name, size=len(content), media_type=media_type, sha256=file.sha256)
