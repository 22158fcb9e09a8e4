"""`dragoman demo` from its start to its end."""

import asyncio
import signal

import httpx
from rich.console import Console

from services.demo import house, summary
from services.demo.api import Api
from services.demo.board import Board
from services.demo.promises import verdicts
from services.demo.receiver import Receiver
from services.demo.scene import Scene
from services.demo.vendors import Vendors
from shared.settings import Settings
from shared.trust import trust


async def show(settings: Settings, console: Console, *, stay: bool) -> bool:
    """Plays and tells it; whether every promise was kept. Raises DragomanError where it cannot be played."""
    # What is told to go ends the Dragoman that it started, as at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    receiver = Receiver()
    async with receiver.listening(), httpx.AsyncClient(timeout=20, trust_env=False, verify=trust()) as http:

        def say(text: str) -> None:
            console.print(text, soft_wrap=True, markup=False, highlight=False)

        async with house.a_dragoman(settings, http, receiver.url, say) as found:
            say(f"The demo is played at {found.url}")
            with Board(console) as board:
                scene = Scene(Api(found.url, http), Vendors(found.url, http), board, receiver)
                evidence = await scene.play()
            is_kept = summary.tell(console, evidence, verdicts(evidence))
            say(f"The console: {found.url}/console/ (sign in as sam, a supervisor)")
            if found.process is not None and stay and console.is_terminal:
                say("It stays up to be looked at; Ctrl-C ends it")
                await _told_to_go(found.process)
            elif found.process is not None:
                say("This Dragoman ends now; `dragoman demo --stay` at a terminal keeps it up to be looked at")
    return is_kept


async def _told_to_go(process: asyncio.subprocess.Process) -> None:
    """Until Ctrl-C, a signal, or its own end."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, told.set)
    ended = asyncio.create_task(process.wait())
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
