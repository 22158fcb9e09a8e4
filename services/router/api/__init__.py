"""Every route of agent frontends."""

from fastapi import FastAPI

from services.router.api import admin, agents, conversations, customers, problems, queues
from services.router.api.context import Api

__all__ = ["Api", "build"]


def build(api: Api) -> FastAPI:
    """The application; OpenAPI 3.1 at `/openapi.json`, a page to try it at `/docs`."""
    app = FastAPI(
        title="Dragoman",
        version="1",
        summary="Customers' messages for the agents who speak their language",
        openapi_url="/v1/openapi.json",
        docs_url="/v1/docs",
        redoc_url=None,
    )
    app.state.api = api
    problems.install(app)
    for module in (agents, conversations, customers, queues, admin):
        app.include_router(module.api)
    return app
