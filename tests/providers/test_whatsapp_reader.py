"""No content of a signed webhook breaks the reader, and the largest are split quickly."""

import json
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidSignature
from core.ports import OtherEvent
from tests.providers.whatsapp_webhooks import (
    EMPTY_WEBHOOK,
    NUMBER_ID,
    WEBHOOKS,
    change_body,
    parse_webhook,
    raw_webhook,
    sign,
    status_report,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
item = st.dictionaries(
    st.sampled_from(
        ["id", "status", "from", "from_user_id", "type", "text", "timestamp", "errors", "pricing", "context", "system"]
    ),
    st.sampled_from(["wamid.A", "delivered", "failed", "5511987654321", "text", "system", "1795442404"]) | anything,
)
value = st.dictionaries(
    st.sampled_from(["metadata", "contacts", "messages", "statuses", "errors"]),
    st.lists(item | anything, max_size=3) | st.just({"phone_number_id": NUMBER_ID}) | anything,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        EMPTY_WEBHOOK,
        b'{"entry": {}}',
        b'{"entry": [null, 1, [], {}]}',
        b'{"entry": [{"changes": "x"}]}',
        b"[" * 200_000,
        b'{"entry":[{"changes":[' + b'{"value":' * 900 + b"1" + b"}" * 900 + b"]}]}",
        b"\xff\xfe",
    ],
)
def test_an_empty_webhook_is_kept_once(body: bytes) -> None:
    [event], [again] = parse_webhook(body), parse_webhook(body)
    assert isinstance(event, OtherEvent)
    assert event.event_type == "unknown"
    assert event.dedupe_key == again.dedupe_key != parse_webhook(body + b" 1")[0].dedupe_key


def test_the_largest_batches_are_split_in_no_time() -> None:
    """Meta's webhooks have at most 3 MB; a search for each person in the whole list would take minutes."""
    many = range(8_000)
    people = [{"wa_id": str(5511900000000 + n), "profile": {"name": "Ana"}} for n in many]
    items = [status_report(id=f"wamid.{n}", recipient_id=str(5511900000000 + n)) for n in many]
    body = change_body({"contacts": people, "statuses": items})
    began = perf_counter()
    events = parse_webhook(body)
    assert perf_counter() - began < 5
    assert len({event.dedupe_key for event in events}) == len(many)
    assert max(len(event.raw) for event in events) < 1_000


@given(
    st.binary() | (value | anything).map(change_body) | anything.map(lambda data: json.dumps({"entry": data}).encode())
)
def test_nothing_breaks_the_reader(body: bytes) -> None:
    events = parse_webhook(body)
    assert events
    for event in events:
        assert event.dedupe_key.isascii()
        assert event.dedupe_key.isprintable()
        assert event.event_type.isprintable()
        assert len(event.dedupe_key) < 400
        event.raw.encode()
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(raw_webhook(body, sign(body, "f" * 32)))
