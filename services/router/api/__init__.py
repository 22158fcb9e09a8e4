"""Every route of agent frontends."""

from services.router.api import (
    admin,
    agents,
    attachments,
    changes,
    conversations,
    customers,
    problems,
    queues,
    replies,
    stream,
    webhooks,
)
from services.router.api.context import Api
from services.router.api.limits import BodyLimit
from services.router.api.openapi import Documented

__all__ = ["Api", "build"]


def build(api: Api) -> Documented:
    """The application; OpenAPI 3.1 at `/v1/openapi.json`, a page to try it at `/v1/docs`."""
    app = Documented(
        title="Dragoman",
        version="1",
        summary="Customers' messages for the agents who speak their language",
        openapi_url="/v1/openapi.json",
        docs_url="/v1/docs",
        redoc_url=None,
    )
    app.state.api = api
    problems.install(app)
    app.add_middleware(BodyLimit)
    for module in (agents, conversations, changes, replies, attachments, customers, queues, stream, admin, webhooks):
        app.include_router(module.api)
    return app
