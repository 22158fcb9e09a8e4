"""Every route of agent frontends."""

from services.router.api import (
    admin,
    agents,
    attachments,
    callbacks,
    changes,
    conversations,
    customers,
    keys,
    problems,
    queues,
    replies,
    sign_in,
    stream,
    webhooks,
)
from services.router.api.context import Api
from services.router.api.limits import BodyLimit
from services.router.api.openapi import Documented
from services.router.console import routes

__all__ = ["Api", "build"]


def build(api: Api) -> Documented:
    """The application; OpenAPI 3.1 at `/v1/openapi.json`, to try at `/v1/docs`; the console at `/console/`."""
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
    for module in (
        sign_in, agents, conversations, changes, replies, callbacks, attachments, customers, queues, stream, admin,
        keys, webhooks,
    ):  # fmt: skip
        app.include_router(module.api)
    app.router.routes.extend(routes(filter(None, (api.settings.address, api.settings.oidc_issuer))))
    return app
