"""Who may call the webhooks: the vendor's own vectors, and the ways in which an address can be written."""

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from shared.channels.contract import Hook
from shared.channels.twilio.signature import MOST_FIELDS, check, fields_of, variants
from shared.errors import BadPayload, BadSignature

TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://hooks.example.com/twilio/whatsapp"
FIELDS = [
    ("MessageSid", "SM00000000000000000000000000000001"),
    ("From", "whatsapp:+4915112345678"),
    ("To", "whatsapp:+15550001111"),
    ("Body", "Wo ist meine Bestellung? 📦"),
    ("NumMedia", "0"),
    ("ProfileName", "Jürgen"),
    ("ToZip", ""),
]
SIGNED = "jPMLEgIxZHS4nLTD7CtrVjYZ4Vk="
HASH = "fd621823002706e24604cb868a9f4f8850d6f01fb5040d49ba050482e1472437"
JSON_URL = f"https://hooks.example.com/twilio/json?bodySHA256={HASH}"
JSON_SIGNED = "yfvSbWV873hmELH65ifVrM+hUQE="


def posted(
    url: str, signature: str, body: bytes | None = None, kind: str = "application/x-www-form-urlencoded"
) -> Hook:
    return Hook(
        method="POST",
        path=urlsplit(url).path,
        url=url,
        query=parse_qsl(urlsplit(url).query, keep_blank_values=True),
        headers={"x-twilio-signature": signature, "content-type": kind},
        body=urlencode(FIELDS).encode() if body is None else body,
        received_at=datetime(2026, 8, 3, tzinfo=UTC),
    )


def signed_by_hand(text: str, token: str = TOKEN) -> str:
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def is_taken(hook: Hook, *tokens: str) -> bool:
    try:
        check(hook, tokens or [TOKEN])
    except BadSignature:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (URL, SIGNED),
        ("https://hooks.example.com:443/twilio/whatsapp", "wUsEGkzpC+MJNLtZg8MWdKO8Zew="),
        ("https://hooks.example.com/twilio/whatsapp?brand=eu&x=a%20b", "3tDl5p/wosC258zzdQVDzQ580fc="),
    ],
    ids=["plain", "port", "query"],
)
def test_the_vendors_vectors_are_taken(url: str, signature: str) -> None:
    assert is_taken(posted(url, signature))


def test_the_librarys_own_vector_is_taken() -> None:
    fields = "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
    hook = posted("https://mycompany.com/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8=", fields.encode())
    assert is_taken(hook, "12345")


def test_a_port_may_be_signed_or_left_out_whatever_we_call_ourselves() -> None:
    with_port = "wUsEGkzpC+MJNLtZg8MWdKO8Zew="
    for url in (URL, "https://hooks.example.com:443/twilio/whatsapp"):
        assert is_taken(posted(url, SIGNED))
        assert is_taken(posted(url, with_port))
    assert not is_taken(posted("https://hooks.example.com:8443/twilio/whatsapp", with_port))
    assert is_taken(posted("https://hooks.example.com:8443/twilio/whatsapp", SIGNED))


@pytest.mark.parametrize(
    ("url", "forms"),
    [
        ("http://a.example/x", ["http://a.example/x", "http://a.example:80/x"]),
        ("https://[2001:db8::1]/x?y", ["https://[2001:db8::1]/x?y", "https://[2001:db8::1]:443/x?y"]),
        ("https://[2001:db8::1]:8443/x", ["https://[2001:db8::1]/x", "https://[2001:db8::1]:8443/x"]),
        ("https://a.example/x?y=http://b:1/", ["https://a.example/x?y=http://b:1/", "https://a.example:443/x?y=http://b:1/"]),
        ("https://a.example/x?", ["https://a.example/x?", "https://a.example:443/x?"]),
        ("", [""]),
    ],
)  # fmt: skip
def test_the_forms_of_an_address(url: str, forms: list[str]) -> None:
    assert list(variants(url)) == forms


def test_what_a_proxy_says_of_itself_changes_nothing() -> None:
    hook = posted(URL, SIGNED)
    told = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "http", "forwarded": "x"}
    assert is_taken(replace(hook, headers={**hook.headers, **told}))
    # Signed for another address: what the proxy says does not make it ours.
    elsewhere = posted(
        URL, signed_by_hand("https://evil.example/twilio/whatsapp" + "".join(map("".join, sorted(FIELDS))))
    )
    assert not is_taken(replace(elsewhere, headers={**elsewhere.headers, **told}))


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/twilio/whatsapp",
        "https://hooks.example.com/twilio/whatsapp/",
        "https://hooks.example.com/twilio/whatsapp?",
        "https://hooks.example.com/twilio/WhatsApp",
        "https://hooks.example.org/twilio/whatsapp",
    ],
)
def test_a_signature_for_another_form_of_the_address_is_refused(url: str) -> None:
    assert not is_taken(posted(url, SIGNED))


def test_the_query_is_signed_as_it_was_sent() -> None:
    assert not is_taken(
        posted("https://hooks.example.com/twilio/whatsapp?brand=eu&x=a+b", "3tDl5p/wosC258zzdQVDzQ580fc=")
    )
    assert not is_taken(
        posted("https://hooks.example.com/twilio/whatsapp?x=a%20b&brand=eu", "3tDl5p/wosC258zzdQVDzQ580fc=")
    )


def test_empty_and_unknown_fields_count() -> None:
    without = urlencode([f for f in FIELDS if f[0] != "ToZip"]).encode()
    assert not is_taken(posted(URL, SIGNED, without))
    assert not is_taken(posted(URL, SIGNED, urlencode([*FIELDS, ("New", "")]).encode()))


def test_repeated_names_are_signed_with_each_value_once_in_their_order() -> None:
    body = b"Event=ringing&Event=answered&Event=ringing&Event=&A=1"
    assert is_taken(posted(URL, signed_by_hand(URL + "A1" + "Event" + "Eventanswered" + "Eventringing"), body))
    assert not is_taken(posted(URL, signed_by_hand(URL + "A1" + "Eventringing"), body))


def test_both_tokens_hold_while_one_is_changed() -> None:
    assert is_taken(posted(URL, SIGNED), "the next one", TOKEN)
    assert is_taken(posted(URL, SIGNED), TOKEN, "the next one")
    assert not is_taken(posted(URL, SIGNED), "the next one")
    with pytest.raises(BadSignature, match="token"):
        check(posted(URL, SIGNED), [])


def test_a_json_body_is_covered_by_its_hash_in_the_address() -> None:
    body = '{"a":"ü"}'.encode()
    assert is_taken(posted(JSON_URL, JSON_SIGNED, body, "application/json"))
    assert not is_taken(posted(JSON_URL, JSON_SIGNED, body + b" ", "application/json"))
    assert not is_taken(posted(JSON_URL, JSON_SIGNED, body))
    other = hashlib.sha256(body + b" ").hexdigest()
    assert not is_taken(posted(JSON_URL.replace(HASH, other), JSON_SIGNED, body + b" ", "application/json"))
    assert not is_taken(posted(JSON_URL.replace(HASH, "%C3%BC"), JSON_SIGNED, body, "application/json"))


def test_a_json_body_without_its_hash_is_refused() -> None:
    assert not is_taken(posted(URL, signed_by_hand(URL), b'{"a": 1}', "application/json"))


def test_a_get_is_signed_by_its_address_alone() -> None:
    url = f"{URL}?{urlencode(FIELDS)}"
    hook = replace(posted(url, signed_by_hand(url)), method="GET", body=b"")
    assert is_taken(hook)
    assert fields_of(hook).one("ProfileName") == "Jürgen"


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_other_signature_is_taken(signature: str) -> None:
    assert signature == SIGNED or not is_taken(posted(URL, signature))


def test_bytes_that_are_no_text_are_refused_and_break_nothing() -> None:
    assert not is_taken(posted(URL, SIGNED, b"Body=%FF%FE\xff&From=\xc3"))


PIECES = [
    "&",
    "=",
    "+",
    "%",
    "%4",
    "%2B",
    "%3d",
    "%C3%BC",
    "%C3",
    "%0A",
    "%00",
    "ü",
    "A",
    "b",
    "_",
    "\n",
    "\r\n",
    " ",
    ";",
    '"',
    '":"',
    '","',
    "\\",
    "\\u0041",
    "%22",
    "%5C",
    "\x00",
    "u",
    "4",
]
FORMS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@example('A=1","B":"2&A=3')
@example("A=\\u0041")
@example("A=%C3%BC&B=\xfc")
@example("%C3=1&%C4=2")
@example("%C3%BC=1")
@example("A==41%2B")
@example("%25s=%25d&%25=%25s")
@example("A=%2B=\n")
@given(FORMS | st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "replace")))
def test_a_form_is_read_as_the_standard_library_reads_it(text: str) -> None:
    fields = fields_of(posted(URL, "", text.encode()))
    pairs = parse_qsl(text, keep_blank_values=True)
    assert fields.first == dict(reversed(pairs))
    assert fields.signed == "".join(name + value for name, value in sorted(set(pairs)))


@given(st.lists(st.tuples(st.sampled_from("ABab"), st.text(max_size=5)), min_size=1, max_size=8))
def test_what_the_vendors_library_signs_is_taken(pairs: list[tuple[str, str]]) -> None:
    class Form(dict[str, list[str]]):
        def getall(self, name: str) -> list[str]:
            return self[name]

    form = Form()
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    signature = RequestValidator(TOKEN).compute_signature(URL, form)
    assert is_taken(posted(URL, signature, urlencode(pairs).encode()))


def test_a_form_of_very_many_fields_is_not_read() -> None:
    body = b"&".join(b"a=1" for _ in range(MOST_FIELDS + 1))
    assert not is_taken(posted(URL, signed_by_hand(URL + "a1"), body))
    with pytest.raises(BadPayload):
        fields_of(posted(URL, "", body))
