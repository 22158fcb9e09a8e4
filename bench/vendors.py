"""What the load says to the hooks: each vendor's signed message, of a telephone what becomes of a call.

A message has some 900 to 1 250 bytes, the same text for all.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from shared.accounts import Account, Directory, Inbox
from shared.channels.twilio.phone.state import CallState, address_of, seal
from shared.ids import derived_id

SECRET = b"bench-app-secret"
PUBLIC_URL = "https://hooks.example.com"
TEXT = "Wo bleibt meine Bestellung? " * 24
ACCOUNT_SID = "AC" + "0" * 32
NUMBER, CUSTOMER = "+4917604069010", "+4917604069011"

# The headers that matter and the body of message `n`, for the path and query that it goes to.
Make = Callable[[str, int], tuple[Mapping[str, str], bytes]]


def messenger(_path: str, n: int) -> tuple[Mapping[str, str], bytes]:
    at = int(time.time() * 1000)
    item = {
        "sender": {"id": f"psid{n % 500}"}, "recipient": {"id": "100"}, "timestamp": at,
        "message": {"mid": f"m_{n}_{at}", "text": TEXT},
    }  # fmt: skip
    return _of_meta({"object": "page", "entry": [{"id": "100", "time": at, "messaging": [item]}]})


def whatsapp(_path: str, n: int) -> tuple[Mapping[str, str], bytes]:
    at, phone = int(time.time()), f"49176040{n % 500:05d}"
    value = {
        "messaging_product": "whatsapp", "metadata": {"display_phone_number": "100", "phone_number_id": "100"},
        "contacts": [{"profile": {"name": "Jo"}, "wa_id": phone, "user_id": f"DE.{n % 500}"}],
        "messages": [{"from": phone, "from_user_id": f"DE.{n % 500}", "id": f"wamid.{n}{time.time_ns()}",
                      "timestamp": str(at), "type": "text", "text": {"body": TEXT}}],
    }  # fmt: skip
    return _of_meta({"object": "whatsapp_business_account", "entry": [
        {"id": "7", "changes": [{"field": "messages", "value": value}]}
    ]})  # fmt: skip


def _of_meta(message: object) -> tuple[Mapping[str, str], bytes]:
    body = json.dumps(message).encode()
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}, body


def twilio_whatsapp(path: str, n: int) -> tuple[Mapping[str, str], bytes]:
    return _twilio(
        path, n, "whatsapp:",
        ProfileName="Jo", WaId=f"49176040{n % 500:05d}", MessageType="text", ReferralNumMedia="0", Forwarded="false",
        FrequentlyForwarded="false", ChannelMetadata='{"type":"whatsapp","data":{"context":{}}}',
    )  # fmt: skip


def twilio_sms(path: str, n: int) -> tuple[Mapping[str, str], bytes]:
    return _twilio(path, n, "", **{f"{end}{what}": "" for end in ("From", "To") for what in ("City", "State", "Zip")})


def _twilio(path: str, n: int, prefix: str, **more: str) -> tuple[Mapping[str, str], bytes]:
    sid = f"SM{n:08x}{time.time_ns():024x}"
    return _signed(path, {
        "MessageSid": sid, "SmsSid": sid, "SmsMessageSid": sid, "AccountSid": ACCOUNT_SID, "ApiVersion": "2010-04-01",
        "From": f"{prefix}+49176040{n % 500:05d}", "To": prefix + NUMBER, "Body": TEXT, "NumMedia": "0",
        "NumSegments": "1", "SmsStatus": "received", **more,
    })  # fmt: skip


def phone(target: str, n: int) -> tuple[Mapping[str, str], bytes]:
    """The customer's telephone has rung off."""
    called = {f"{end}{what}": "" for end in ("Called", "Caller", "From", "To") for what in ("City", "State", "Zip")}
    return _signed(target, {
        **called, "AccountSid": ACCOUNT_SID, "ApiVersion": "2010-04-01", "CallSid": f"CA{n:08x}{time.time_ns():024x}",
        "CallStatus": "completed", "CallDuration": "42", "Duration": "1", "Direction": "outbound-dial",
        "Called": CUSTOMER, "To": CUSTOMER, "Caller": NUMBER, "From": NUMBER, "CalledCountry": "DE", "ToCountry": "DE",
        "CallerCountry": "DE", "FromCountry": "DE", "SequenceNumber": "3", "CallbackSource": "call-progress-events",
        "Timestamp": "Mon, 03 Aug 2026 09:00:00 +0000",
    })  # fmt: skip


def _signed(target: str, fields: Mapping[str, str]) -> tuple[Mapping[str, str], bytes]:
    text = f"{PUBLIC_URL}{target}" + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.new(SECRET, text.encode(), hashlib.sha1).digest()).decode()
    headers = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8", "x-twilio-signature": signature}
    return headers, urlencode(fields).encode()


MAKERS: Mapping[str, Make] = {
    "messenger": messenger, "whatsapp": whatsapp, "twilio_whatsapp": twilio_whatsapp, "twilio_sms": twilio_sms,
    "phone": phone,
}  # fmt: skip


def target(channel: str) -> str:
    """Where the channel's webhooks come, those of a call with its state."""
    path = f"/hooks/{channel}/token"
    if channel != "phone":
        return path
    (account,) = directory(channel).accounts.values()
    state = CallState(
        reference="0192f1a4-6c10-7000-8000-000000000003", line=NUMBER, customer=CUSTOMER, whisper=TEXT[:80],
        language="de",
    )  # fmt: skip
    return address_of(path, "customer", seal(state, account)).partition("#")[0]


def directory(channel: str) -> Directory:
    """One account of the channel, whose webhooks come to `token`."""
    account_id, inbox_id = derived_id("account"), derived_id("inbox")
    address, secret = ("100", "app_secret") if channel in ("messenger", "whatsapp") else (NUMBER, "auth_token")
    inbox = Inbox(id=inbox_id, brand_id=derived_id("brand"), account_id=account_id, channel=channel, address=address)
    account = Account(id=account_id, channel=channel, secrets={secret: [SECRET.decode()]}, inboxes={address: inbox})
    return Directory(1, {account_id: account}, {"token": account}, {inbox_id: inbox})
