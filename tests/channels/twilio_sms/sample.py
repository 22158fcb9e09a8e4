"""What the suites need of SMS by Twilio."""

from shared.channels.twilio.rules import Context
from tests.channels.tables import FAR_AHEAD
from tests.channels.twilio import sample

ACCOUNT = sample.an_account("twilio_sms")
INBOX = sample.an_inbox("twilio_sms")
REPLY_CONTEXT = Context(to="+4917604069001", at=FAR_AHEAD).encode()
ACCEPTED = (201, {"sid": sample.SENT_SID, "status": "queued"}, sample.SENT_SID)
sign, encode, says_the_same = sample.sign, sample.encode, sample.says_the_same
