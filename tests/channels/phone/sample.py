"""What the suites need of telephone lines by Twilio: an account, a call to place, its state, the vendor's signature."""

from dataclasses import replace
from uuid import UUID

from shared.events import PlaceCall
from tests.channels.tables import FAR_AHEAD
from tests.channels.twilio import sample

LINE, AGENT, CUSTOMER = "+493023125100", "+493023125001", "+493023125123"
CALL_SID = "CA000000000000000000000000000000aa"
INBOX = replace(sample.an_inbox("phone"), address=LINE, locale="de-DE", country="DE")
ACCOUNT = replace(sample.an_account("phone"), inboxes={LINE: INBOX})
REPLY_CONTEXT = b""
COMMAND = PlaceCall(
    call_id=UUID("0192f1a4-6c10-7000-8000-000000000003"),
    conversation_id=UUID(int=5),
    inbox_id=INBOX.id,
    agent_id=UUID(int=6),
    number=1,
    channel="phone",
    agent_phone=AGENT,
    customer_phone=CUSTOMER,
    whisper="Rückruf für Alpenlicht: a private word.",
    language="de",
    expires_at=FAR_AHEAD,
)
ACCEPTED = (201, {"sid": CALL_SID, "status": "queued"}, CALL_SID)
sign, encode, says_the_same = sample.sign, sample.encode, sample.says_the_same
