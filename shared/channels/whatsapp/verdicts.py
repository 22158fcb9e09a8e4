"""What WhatsApp's error codes lead to, whether they come with the answer or later with a status.

Source: Meta for Developers, "WhatsApp Cloud API - Error codes", Graph API v25.0.
"""

from shared.channels.meta.graph import COMMON, Codes, Verdicts
from shared.errors import AccountBroken, InboxBroken, OutcomeUnknown, Rejected, Throttled, Unavailable, WindowClosed

# What concerns one number or its business account breaks that inbox alone: others of the same token go on.
CODES: Codes = {
    **COMMON,
    (0, None): (AccountBroken, "token_invalid"),
    (3, None): (InboxBroken, "permission_missing"),
    (10, None): (InboxBroken, "permission_missing"),
    (131005, None): (InboxBroken, "permission_missing"),
    (33, None): (InboxBroken, "no_such_number"),
    (100, 33): (InboxBroken, "no_such_number"),
    (368, None): (InboxBroken, "blocked_by_policy"),
    (130497, None): (InboxBroken, "country_restricted"),
    (131030, None): (InboxBroken, "not_an_allowed_test_number"),
    (131031, None): (InboxBroken, "account_locked"),
    (131037, None): (InboxBroken, "display_name_not_approved"),
    (131042, None): (InboxBroken, "payment_missing"),
    (131044, None): (InboxBroken, "payment_missing"),
    (131045, None): (InboxBroken, "number_not_registered"),
    (133010, None): (InboxBroken, "number_not_registered"),
    (133016, None): (InboxBroken, "registration_blocked"),
    # Too many people complained; it takes hours, and a person should look why.
    (131048, None): (InboxBroken, "spam_limit"),
    (131064, None): (InboxBroken, "spam_limit"),
    (131063, None): (InboxBroken, "templates_disabled"),
    (80007, None): (Throttled, "rate_limit"),
    (130429, None): (Throttled, "throughput_limit"),
    # Too many to the same person; the schedule's pauses grow as the vendor asks for.
    (131056, None): (Throttled, "pair_rate_limit"),
    (131057, None): (Unavailable, "number_in_maintenance"),
    (131016, None): (Unavailable, "vendor_overloaded"),
    (131000, None): (OutcomeUnknown, "vendor_trouble"),
    (131047, None): (WindowClosed, "window_closed"),
    (100, None): (Rejected, "bad_parameter"),
    (131008, None): (Rejected, "bad_parameter"),
    (131009, None): (Rejected, "bad_parameter"),
    # "Unknown", and mostly about what was sent.
    (135000, None): (Rejected, "bad_parameter"),
    (131051, None): (Rejected, "unsupported_type"),
    (131021, None): (Rejected, "own_number"),
    # Not on WhatsApp, an old app, terms not accepted, or blocked: the vendor does not say which.
    (131026, None): (Rejected, "undeliverable"),
    (131049, None): (Rejected, "held_back_by_vendor"),
    (131050, None): (Rejected, "marketing_stopped"),
    (130472, None): (Rejected, "held_back_by_vendor"),
    (131052, None): (Rejected, "media_refused"),
    (131053, None): (Rejected, "media_refused"),
    (131062, None): (Rejected, "number_needed"),
    (137000, None): (Rejected, "identity_changed"),
}
VERDICTS = Verdicts(
    CODES,
    {
        range(200, 300): (InboxBroken, "permission_missing"),
        # About templates, flows and groups, none of which are ours.
        range(132_000, 133_000): (Rejected, "template_refused"),
    },
)
