"""Twilio webhooks: the known signatures, forgeries, and every stored payload."""

import hashlib
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

import integrations.twilio
from core.errors import FailureParty, FailureReason, InvalidSignature
from core.ports import (
    Channel,
    InboundMessage,
    OtherEvent,
    ProviderEvent,
    RawWebhook,
    ReportedStatus,
    StatusReport,
)
from integrations.twilio.webhook import RETRY_FRAGMENT, TwilioWebhooks
from tests.providers.factories import REFERENCE, twilio_settings

FIXTURES = Path(integrations.twilio.__file__).parent / "fixtures"
TOKEN = "12345678901234567890123456789012"
BASE = "https://api.example.com/webhooks/twilio"
FORM = "application/x-www-form-urlencoded; charset=UTF-8"
JSON_HASH = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
SIGNED_JSON = "yKR0f4L6cPYpIEhBw49m3dtyJ/4="
SID = "SM" + "b" * 32

WEBHOOKS = TwilioWebhooks(twilio_settings(TWILIO_AUTH_TOKEN=TOKEN))


def form(name: str) -> bytes:
    return (FIXTURES / f"{name}.form").read_bytes()


def webhook(body: bytes, signature: str | None, url: str = BASE, **headers: str) -> RawWebhook:
    signed = {} if signature is None else {"x-twilio-signature": signature}
    return RawWebhook("POST", url, {"content-type": FORM, **signed, **headers}, body)


def signature(body: bytes, url: str = BASE, token: str = TOKEN) -> str:
    """Twilio's own library signs, for a body whose fields come once each."""
    fields = dict(pair.split("=", 1) for pair in body.decode().split("&"))
    decoded = {name: value.replace("+", " ").replace("%2B", "+") for name, value in fields.items()}
    return str(RequestValidator(token).compute_signature(url, decoded))


def read(body: bytes, url: str = BASE) -> ProviderEvent:
    (event,) = WEBHOOKS.parse(webhook(body, None, url))
    return event


@pytest.mark.parametrize(
    ("body", "path", "given"),
    [
        (form("delivered"), "/status?tenant=acme", "VKGkUUPhrTDP2bZM/9WkqqPppgs="),
        (form("inbound_stop"), "/inbound", "kQttXXf6ZONzRS86rlMvpahAvjw="),
    ],
)
def test_a_known_signature_is_accepted(body: bytes, path: str, given: str) -> None:
    WEBHOOKS.verify(webhook(body, given, BASE + path))


@pytest.mark.parametrize("host", ["api.example.com", "api.example.com:443"])
@pytest.mark.parametrize("ending", ["", RETRY_FRAGMENT])
def test_a_callback_is_accepted_with_and_without_the_end_of_its_address(host: str, ending: str) -> None:
    body = urlencode({"MessageSid": SID, "MessageStatus": "sent"}).encode()
    url = f"{BASE}?ref=1".replace("api.example.com", host)
    WEBHOOKS.verify(webhook(body, signature(body, url + ending), f"{BASE}?ref=1"))
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(body, signature(body, f"{url}#rc=1"), f"{BASE}?ref=1"))


def test_a_json_body_is_covered_by_its_hash() -> None:
    url = f"{BASE}/json?bodySHA256={JSON_HASH}"
    WEBHOOKS.verify(webhook(b'{"a":1}', SIGNED_JSON, url, **{"content-type": "Application/JSON"}))


def test_a_json_body_on_a_custom_port_is_accepted_as_by_twilios_validator() -> None:
    address = f"https://api.example.com:8443/w?ref=1&bodySHA256={JSON_HASH}"
    for theirs in (address, address.replace(":8443", "")):
        given_ = RequestValidator(TOKEN).compute_signature(theirs, {})
        assert RequestValidator(TOKEN).validate(address, '{"a":1}', given_)
        WEBHOOKS.verify(webhook(b'{"a":1}', given_, address, **{"content-type": "application/json"}))
        with pytest.raises(InvalidSignature):
            WEBHOOKS.verify(webhook(b'{"a":2}', given_, address, **{"content-type": "application/json"}))


@pytest.mark.parametrize("body", [b'{"a":2}', b"", b'{"a":1} '])
@pytest.mark.parametrize("content_type", ["application/json", FORM, ""])
def test_another_body_under_the_same_hash_is_refused(body: bytes, content_type: str) -> None:
    url = f"{BASE}/json?bodySHA256={JSON_HASH}"
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(body, SIGNED_JSON, url, **{"content-type": content_type}))


def test_a_json_body_without_its_hash_is_refused() -> None:
    bare = str(RequestValidator(TOKEN).compute_signature(BASE, {}))
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(b'{"a":1}', bare, **{"content-type": "application/json"}))


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "q/PO9Rl8g0pDDKQfw3BuGSzdF/c=",
        "kQttXXf6ZONzRS86rlMvpahAvjw",
        "kQttXXf6ZONzRS86rlMvpahAvjw= ",
        "kqttxxf6zonzrs86rlmvpahavjw=",
        "ção",
        "\udcff",
        "\x00",
        "A" * 1_000_000,
    ],
)
def test_a_forged_signature_is_refused(given: str | None) -> None:
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(form("inbound_stop"), given, f"{BASE}/inbound"))


def test_a_changed_field_is_refused() -> None:
    body = form("delivered")
    changed = body.replace(b"=delivered", b"=read")
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(changed, signature(body)))


def test_an_added_blank_field_is_refused() -> None:
    body = form("delivered")
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(body + b"&ErrorCode=", signature(body)))


def test_both_tokens_are_accepted_while_they_are_rotated() -> None:
    old, new, stranger = "a" * 32, "b" * 32, "c" * 32
    webhooks = TwilioWebhooks(twilio_settings(TWILIO_AUTH_TOKEN=f"{new},{old}"))
    body = form("sent")
    for token in (old, new):
        webhooks.verify(webhook(body, signature(body, token=token)))
    with pytest.raises(InvalidSignature):
        webhooks.verify(webhook(body, signature(body, token=stranger)))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("https://h.example/w", "https://h.example:443/w"),
        ("https://h.example:443/w", "https://h.example/w"),
        ("http://h.example/w", "http://h.example:80/w"),
        ("https://[::1]/w", "https://[::1]:443/w"),
        ("https://h.example:8443/w", "https://h.example:8443/w"),
        # Twilio leaves any port out of what it signs, sometimes: its own validator tries both.
        ("https://h.example:8443/w?ref=1", "https://h.example/w?ref=1"),
        ("http://h.example:8080/base/w", "http://h.example/base/w"),
        ("https://[::1]:8443/w", "https://[::1]/w"),
        ("https://API.example.com:8443/W?Ref=A", "https://api.example.com/W?Ref=A"),
        ("https://API.example.com/w", "https://api.example.com:443/w"),
        ("https://h.example/w?b=2&a=1", "https://h.example:443/w?b=2&a=1"),
    ],
)
def test_a_port_may_be_written_or_not_and_a_host_in_either_case(ours: str, theirs: str) -> None:
    body = form("sent")
    WEBHOOKS.verify(webhook(body, signature(body, theirs), ours))


@pytest.mark.parametrize(
    "theirs",
    [
        "https://h.example:8443/w?a=1&b=2",
        "https://h.example/w?b=2&a=1",
        "http://h.example/w?a=1&b=2",
        "https://h.example/w",
        "https://h.example/W?a=1&b=2",
        "https://h.example/w/?a=1&b=2",
        "https://h.example/w?a=1&b=2&",
        "https://h.example/w?a=%31&b=2",
        "https://h.example:80/w?a=1&b=2",
        "https://user:word@h.example/w?a=1&b=2",
        "https://i.example/w?a=1&b=2",
    ],
)
def test_another_address_is_refused(theirs: str) -> None:
    body = form("sent")
    for ours in ("https://h.example/w?a=1&b=2", "https://h.example:9443/w?a=1&b=2"):
        with pytest.raises(InvalidSignature):
            WEBHOOKS.verify(webhook(body, signature(body, theirs), ours))


@pytest.mark.parametrize("address", ["https://h.example/w?a=1", "https://h.example:8443/w"])
def test_a_call_with_basic_auth_for_a_proxy_is_accepted_with_its_credentials_in_the_address(address: str) -> None:
    body = form("sent")
    signed_in = {"authorization": "Basic dXNlcjp3b3Jk"}
    for theirs in (address, address.replace("h.example", "user:word@h.example")):
        WEBHOOKS.verify(webhook(body, signature(body, theirs), address, **signed_in))
    for login in ("Basic dXNlcjp3b3JsZA==", "Basic", "Basic %%%", "Basic /////w==", "Bearer dXNlcjp3b3Jk"):
        with pytest.raises(InvalidSignature):
            WEBHOOKS.verify(webhook(body, signature(body, theirs), address, authorization=login))


names = st.sampled_from(["Body", "From", "To", "MediaUrl", "body", "ÇA"])
fields_sent = st.lists(st.tuples(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=6)


class Multi(dict[str, list[str]]):
    """Fields as a web framework hands them to Twilio's validator."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


@given(
    scheme=st.sampled_from(["https", "http"]),
    host=st.sampled_from(["api.example.com", "API.Example.com", "127.0.0.1"]),
    ports=st.lists(st.sampled_from(["", ":443", ":80", ":8443"]), min_size=2, max_size=2),
    paths=st.lists(st.sampled_from(["/webhooks/twilio", "/base/webhooks/twilio", "/w/"]), min_size=2, max_size=2),
    query=st.sampled_from(["", "?ref=a.b.1", "?b=2&a=1", "?x=%C3%A7&y=a+b", "?x=a%20b"]),
    fields=fields_sent,
)
def test_every_request_twilios_own_validator_accepts_is_accepted(
    scheme: str, host: str, ports: list[str], paths: list[str], query: str, fields: list[tuple[str, str]]
) -> None:
    ours, theirs = (f"{scheme}://{host}{port}{path}{query}" for port, path in zip(ports, paths, strict=True))
    sent = Multi()
    for name, value in fields:
        sent.setdefault(name, []).append(value)
    validator = RequestValidator(TOKEN)
    given_ = validator.compute_signature(theirs, sent)
    call = webhook(urlencode(fields).encode(), given_, ours)
    if validator.validate(ours, sent, given_):
        WEBHOOKS.verify(call)
    else:
        with pytest.raises(InvalidSignature):
            WEBHOOKS.verify(call)


@pytest.mark.parametrize("algorithm", ["HMAC_SHA256", "HMAC_MD5", "none", ""])
def test_the_algorithm_is_not_for_the_sender_to_choose(algorithm: str) -> None:
    body = form("delivered")
    settings = {"x-twilio-webhooks-signature-settings": f"key=x,algorithm={algorithm}"}
    WEBHOOKS.verify(webhook(body, "VKGkUUPhrTDP2bZM/9WkqqPppgs=", f"{BASE}/status?tenant=acme", **settings))
    with pytest.raises(InvalidSignature):
        sha256 = "6vsH/bbj+YXecO+0Piwk/C4TlcgEts94q+DMyLmH6yk="
        WEBHOOKS.verify(webhook(body, sha256, f"{BASE}/status?tenant=acme", **settings))


def test_a_million_fields_are_refused_before_they_are_read() -> None:
    with pytest.raises(InvalidSignature, match="more fields"):
        WEBHOOKS.verify(webhook(b"&".join([b"a="] * 1_000_000), "x"))


def test_repeated_fields_are_signed_as_twilio_signs_them() -> None:
    body = b"MediaUrl=b&MediaUrl=a&MediaUrl=b"
    given = str(RequestValidator(TOKEN).compute_signature(BASE, {"MediaUrl": "aMediaUrlb"}))
    WEBHOOKS.verify(webhook(body, given))


def test_delivered_is_read_with_our_reference() -> None:
    event = read(form("delivered"), f"{BASE}?ref={REFERENCE}")
    assert event == StatusReport(
        f"{SID}:delivered",
        "delivered",
        form("delivered").decode(),
        status=ReportedStatus.DELIVERED,
        reference=REFERENCE,
        provider_message_id=SID,
    )


def test_undelivered_says_why() -> None:
    event = read(form("undelivered"))
    assert isinstance(event, StatusReport)
    assert (event.status, event.reference) == (ReportedStatus.FAILED, None)
    assert event.failure is not None
    assert (event.failure.reason, event.failure.party) == (FailureReason.UNREACHABLE, FailureParty.RECIPIENT)
    assert (event.failure.provider_code, event.failure.is_transient) == ("30003", True)


def test_sent_is_no_failure() -> None:
    event = read(form("sent"))
    assert isinstance(event, StatusReport)
    assert (event.status, event.failure) == (ReportedStatus.SENT, None)


def test_stop_is_an_ordinary_message_and_blank_fields_are_ignored() -> None:
    event = read(form("inbound_stop"))
    sid = "SM" + "e" * 32
    assert event == InboundMessage(
        f"{sid}:received",
        "received",
        form("inbound_stop").decode(),
        channel=Channel.SMS,
        sender="+5511912345678",
        recipient="+15005550006",
        text="STOP",
        provider_message_id=sid,
    )


def test_what_a_customer_writes_arrives_letter_for_letter() -> None:
    event = read(form("inbound_text"))
    assert isinstance(event, InboundMessage)
    assert event.text == "Olá, posso remarcar para amanhã às 10h? 🙂"


def test_an_unknown_status_is_kept() -> None:
    event = read(form("unknown"), f"{BASE}?ref={REFERENCE}")
    raw = form("unknown").decode()
    assert event == OtherEvent(f"{SID}:quarantined", "quarantined", raw, reference=REFERENCE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"MessageStatus=delivered",
        b"MessageSid=&MessageStatus=delivered",
        b"MessageSid=SM1&MessageStatus=delivered",
        f"MessageSid={SID}".encode(),
        f"MessageSid={SID}&MessageStatus=".encode(),
        f"MessageSid={SID}&MessageStatus=a%00b".encode(),
        b'{"a":1}',
        b"&".join([b"a="] * 2_000),
    ],
)
def test_what_names_no_message_is_kept_once(body: bytes) -> None:
    event, again = read(body), read(body)
    assert isinstance(event, OtherEvent)
    assert event.event_type == "unknown"
    assert event.dedupe_key == again.dedupe_key != read(body + b"&x=1").dedupe_key


@pytest.mark.parametrize("name", ["delivered", "undelivered", "sent", "inbound_stop", "inbound_text", "unknown"])
def test_the_same_event_sent_twice_has_one_key(name: str) -> None:
    reordered = b"&".join(sorted(form(name).split(b"&")))
    assert read(form(name)).dedupe_key == read(reordered, f"{BASE}?ref={REFERENCE}").dedupe_key


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", None),
        ("accepted", None),
        ("scheduled", None),
        ("sending", None),
        ("sent", ReportedStatus.SENT),
        ("delivered", ReportedStatus.DELIVERED),
        ("partially_delivered", ReportedStatus.DELIVERED),
        ("read", ReportedStatus.READ),
        ("undelivered", ReportedStatus.FAILED),
        ("failed", ReportedStatus.FAILED),
        ("canceled", ReportedStatus.FAILED),
    ],
)
def test_every_word_of_twilio_has_its_meaning(word: str, status: ReportedStatus | None) -> None:
    event = read(urlencode({"MessageSid": SID, "MessageStatus": word}).encode())
    assert event.event_type == word
    assert (event.status if isinstance(event, StatusReport) else None) is status


@pytest.mark.parametrize("code", ["", "0", "x", "999999"])
def test_a_failure_without_a_code_is_given_none(code: str) -> None:
    event = read(urlencode({"MessageSid": SID, "MessageStatus": "failed", "ErrorCode": code}).encode())
    assert isinstance(event, StatusReport)
    assert event.failure is not None
    assert (event.failure.reason, event.failure.provider_code) == (FailureReason.OTHER, None)


def test_an_unknown_code_is_kept() -> None:
    event = read(urlencode({"MessageSid": SID, "MessageStatus": "failed", "ErrorCode": "39999"}).encode())
    assert isinstance(event, StatusReport)
    assert event.failure is not None
    assert (event.failure.reason, event.failure.provider_code) == (FailureReason.OTHER, "39999")


@pytest.mark.parametrize("reference", ["", "x", "a.b.c", "%00", f"{REFERENCE}.4", "1.2.3&ref=4"])
def test_a_reference_that_is_not_ours_is_none(reference: str) -> None:
    event = read(form("delivered"), f"{BASE}?ref={reference}")
    assert isinstance(event, StatusReport)
    assert event.reference is None


field = st.tuples(
    st.sampled_from(["MessageSid", "MessageStatus", "SmsStatus", "ErrorCode", "Body", "From", "To"]),
    st.sampled_from([SID, "delivered", "failed", "received", "quarantined", ""]) | st.text(),
)
anything = st.binary() | st.lists(field).map(lambda fields: urlencode(fields, errors="replace").encode())


@given(anything, st.binary())
def test_nothing_breaks_the_reader(body: bytes, query: bytes) -> None:
    url = f"{BASE}?{query.decode('latin-1')}"
    event = read(body, url)
    assert event.dedupe_key.isprintable()
    assert event.event_type.isprintable()
    assert len(event.dedupe_key) < 128
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(webhook(body, hashlib.sha1(body).hexdigest(), url))
