"""Time limits for very many short waits: one timer looks after them all, where `asyncio.timeout` sets one for each."""

import asyncio
import time
from types import TracebackType

# By so much a limit may be exceeded.
TICK = 0.05


class Limits:
    """`with limits(seconds):` raises TimeoutError in the task once it waited so long inside."""

    def __init__(self) -> None:
        self._open: set[_Limit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, seconds: float) -> "_Limit":
        return _Limit(self, seconds)

    def add(self, limit: "_Limit") -> None:
        self._open.add(limit)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._look)

    def remove(self, limit: "_Limit") -> None:
        self._open.discard(limit)

    def _look(self) -> None:
        now = time.monotonic()
        for limit in [limit for limit in self._open if limit.until <= now]:
            limit.end()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._look) if self._open else None


class _Limit:
    __slots__ = ("_before", "_is_over", "_limits", "_task", "until")

    def __init__(self, limits: Limits, seconds: float) -> None:
        self._limits = limits
        self._is_over = False
        self.until = time.monotonic() + seconds

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can be told to stop waiting"
        self._task = task
        self._before = task.cancelling()
        self._limits.add(self)

    def end(self) -> None:
        self._limits.remove(self)
        self._is_over = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None) -> None:
        self._limits.remove(self)
        # Whoever else cancelled the task meanwhile means it, as `asyncio.timeout` sees it too.
        if self._is_over and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError
