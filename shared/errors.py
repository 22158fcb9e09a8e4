"""Every way things fail between us and the outside; the class says what to do next.

DragomanError                  has a `code`, a short name that never carries a customer's words or a secret
├── BadSignature               answer 401; count it; nothing was parsed
├── BadPayload                 authentic bytes that break the vendor's documented form
├── InboxMisconfigured         a person must mend the configuration
├── Rejected                   final: the vendor said no
│   └── WindowClosed           final for this text: the vendor's reply window is over
├── AccountBroken              the account's token or permission: open its circuit, tell a person, burn no attempt
├── OutcomeUnknown             it may have been sent: ask or wait for the echo, never just send again
├── Unavailable                nothing was done: try again
│   ├── Throttled              the same, not before `retry_after`
│   └── Stopping               this process is going down
├── UnknownEvent               a type of ours that this build does not know: stop, the deploy order is wrong
├── EventsLost                 the stored offset lies outside the log: a person decides
├── PoisonEvent                one event of a batch cannot be handled: dead letter, the rest goes on
└── Fenced                     another owner took over: drop local state, do not retry
"""

from datetime import timedelta


class DragomanError(Exception):
    """Something failed in a known way."""

    code = "error"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        if code is not None:
            self.code = code


class BadSignature(DragomanError):
    """The request is not signed by the vendor of this account."""

    code = "bad_signature"


class BadPayload(DragomanError):
    """The vendor's bytes do not have the documented form."""

    code = "bad_payload"


class InboxMisconfigured(DragomanError):
    """The configuration of an account or inbox lacks something."""

    code = "inbox_misconfigured"


class Rejected(DragomanError):
    """The vendor refused for good."""

    code = "rejected"


class WindowClosed(Rejected):
    """The vendor's reply window is over."""

    code = "window_closed"


class AccountBroken(DragomanError):
    """The account's credentials or permissions no longer work."""

    code = "account_broken"


class InboxBroken(DragomanError):
    """The credentials of one inbox no longer work; the account's others are as they were."""

    code = "inbox_broken"


class OutcomeUnknown(DragomanError):
    """The vendor may or may not have taken it."""

    code = "outcome_unknown"


class Unavailable(DragomanError):
    """Not possible right now; nothing was done."""

    code = "unavailable"


class Throttled(Unavailable):
    """The vendor asks us to slow down."""

    code = "throttled"

    def __init__(self, message: str | None = None, *, code: str | None = None, retry_after: timedelta | None = None):
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Stopping(Unavailable):
    """This process is going down."""

    code = "stopping"


class UnknownEvent(DragomanError):
    """An event type of ours that this build does not know: deploy the reader before the writer."""

    code = "unknown_event"


class EventsLost(DragomanError):
    """The stored offset lies outside the log; `dragoman offsets accept-gap` goes on without what is missing."""

    code = "events_lost"


class PoisonEvent(DragomanError):
    """One event of a batch cannot be handled."""

    code = "poison_event"

    def __init__(self, position: int, cause: BaseException) -> None:
        # Only the class of the cause: its text may quote what a customer wrote.
        super().__init__(f"event {position} of the batch: {type(cause).__name__}", code=getattr(cause, "code", None))
        self.position = position
        self.__cause__ = cause


class Fenced(DragomanError):
    """Another owner took over."""

    code = "fenced"
