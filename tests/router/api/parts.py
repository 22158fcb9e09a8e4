"""The API's parts over a world."""

import asyncio
from functools import partial

from services.router.api import Api
from services.router.api.auth import recheck
from services.router.dispatch import Dispatcher
from services.router.stream import Stream
from shared.settings import Settings
from tests.router.world import World


def an_api(w: World) -> Api:
    """In a process of its own, where development tokens hold; nothing of it runs yet."""
    settings = Settings(development_tokens=True)
    return Api(
        database=w.api,
        router_database=w.router,
        cache=w.cache,
        channels={channel.name: channel for channel in w.channels},
        dispatcher=Dispatcher(w.router, w.cache),
        settings=settings,
        stream=Stream(w.router, partial(recheck, w.cache, settings), asyncio.Event(), alone=True),
    )
