"""What keeps one account's trouble from everybody else: slots, a token bucket and a circuit per account."""

from collections import deque
from dataclasses import dataclass, field

SLOTS = 6
# Calls a second and how many at once after a quiet time; every vendor of ours allows more.
RATE, BURST = 20.0, 40.0
WINDOW = 30.0
FEWEST = 10
PROBE_AFTER = 15.0
BROKEN_PROBE_AFTER = 60.0


@dataclass(slots=True)
class Account:
    """The state of one account; times are seconds of the loop's clock."""

    in_flight: int = 0
    tokens: float = BURST
    filled_at: float = 0.0
    results: deque[tuple[float, bool]] = field(default_factory=deque)
    open_until: float = 0.0
    is_broken: bool = False

    def free(self, now: float) -> int:
        """How many calls may begin now; one, as a probe, just after the circuit was open."""
        if now < self.open_until:
            return 0
        self.tokens = min(BURST, self.tokens + (now - self.filled_at) * RATE)
        self.filled_at = now
        if self.open_until:
            return 1 if self.in_flight == 0 else 0
        return max(0, min(SLOTS - self.in_flight, int(self.tokens)))

    def begin(self) -> None:
        self.in_flight += 1
        self.tokens -= 1

    def end(self, now: float, *, well: bool) -> None:
        """Opens the circuit when half of at least ten calls in 30 seconds failed; a call that went well closes it."""
        self.in_flight -= 1
        if well and self.open_until:
            self.open_until = 0.0
            self.results.clear()
        elif not well and self.open_until:
            self.open_until = now + PROBE_AFTER
        self.results.append((now, well))
        while self.results and now - self.results[0][0] > WINDOW:
            self.results.popleft()
        failed = sum(not ok for _, ok in self.results)
        if len(self.results) >= FEWEST and failed * 2 >= len(self.results):
            self.open_until = max(self.open_until, now + PROBE_AFTER)

    def broke(self, now: float) -> bool:
        """The credentials do not work: nothing but a probe for a while. True where this is news."""
        news = not self.is_broken
        self.is_broken = True
        self.open_until = now + BROKEN_PROBE_AFTER
        return news
