"""The API's parts over a world."""

import asyncio
import os
from pathlib import Path
from tempfile import gettempdir

from cryptography.fernet import Fernet

from services.router.api import Api, build
from services.router.api.openapi import Documented
from services.router.api.tokens import Tokens
from services.router.dispatch import Dispatcher
from services.router.stream import Stream
from shared.links import Links
from shared.objects import FolderStore
from shared.secrets import Vault
from shared.settings import Settings
from tests.router.world import World

KEY = Fernet.generate_key().decode()
_apps: list[Documented] = []


def an_api(w: World) -> Api:
    """In a process of its own, where development tokens hold; nothing of it runs yet."""
    settings = Settings(development_tokens=True)
    tokens = Tokens(w.cache, settings)
    return Api(
        database=w.api,
        router_database=w.router,
        cache=w.cache,
        channels={channel.name: channel for channel in w.channels},
        dispatcher=Dispatcher(w.router, w.cache),
        settings=settings,
        objects=FolderStore(Path(gettempdir()) / f"dragoman-files-{os.getpid()}"),
        links=Links(Vault([KEY]), "http://test"),
        tokens=tokens,
        vault=Vault([KEY]),
        stream=Stream(w.router, tokens.recheck, asyncio.Event(), alone=True),
    )


def an_app(api: Api) -> Documented:
    """The application over these parts. All tests of a process share it: its routes take longer to make than a test."""
    if not _apps:
        _apps.append(build(api))
    (app,) = _apps
    app.state.api = api
    return app
