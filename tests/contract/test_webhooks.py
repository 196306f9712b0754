"""Webhooks: only those the provider signed are accepted, every known one is read, and the rest is kept."""

import pytest

from core.errors import InvalidSignature
from core.ports import OtherEvent, ProviderEvent, RawWebhook, WebhookReader
from tests.contract.providers import (
    PROVIDERS,
    WEBHOOK_FIXTURES,
    WITH_WEBHOOKS,
    connect_provider,
    fixture_body,
    signed_webhook,
)

UNKNOWN = [(name, file) for name, file in WEBHOOK_FIXTURES if file.startswith("unknown.")]


def reader(name: str, **changes: str) -> WebhookReader:
    webhooks = connect_provider(name, **changes).webhooks
    assert webhooks is not None
    return webhooks


def read(name: str, body: bytes) -> list[ProviderEvent]:
    return list(reader(name).parse(signed_webhook(name, body)))


async def test_there_are_fixtures_to_read() -> None:
    assert {name for name, _ in WEBHOOK_FIXTURES} == {name for name, _ in UNKNOWN} == set(WITH_WEBHOOKS)


async def test_a_webhook_signed_by_the_provider_is_accepted(subtests: pytest.Subtests) -> None:
    for name, file in WEBHOOK_FIXTURES:
        with subtests.test(f"{name}: {file}"):
            reader(name).verify(signed_webhook(name, fixture_body(name, file)))


@pytest.mark.parametrize("name", WITH_WEBHOOKS)
async def test_what_is_not_signed_is_refused(name: str) -> None:
    webhook = signed_webhook(name, fixture_body(name, next(file for one, file in WEBHOOK_FIXTURES if one == name)))
    unsigned = {key: text for key, text in webhook.headers.items() if "signature" not in key}
    assert unsigned != webhook.headers
    empty = {key: "" if "signature" in key else text for key, text in webhook.headers.items()}
    for headers in (unsigned, empty, {}):
        with pytest.raises(InvalidSignature):
            reader(name).verify(RawWebhook(webhook.method, webhook.url, headers, webhook.body))


async def test_what_was_tampered_with_is_refused(subtests: pytest.Subtests) -> None:
    for name, file in WEBHOOK_FIXTURES:
        with subtests.test(f"{name}: {file}"):
            webhook = signed_webhook(name, fixture_body(name, file))
            middle = len(webhook.body) // 2
            changed = bytes([webhook.body[middle] ^ 1])
            for body in (
                webhook.body + b"&x=1",
                webhook.body[:-1],
                webhook.body[:middle] + changed + webhook.body[middle + 1 :],
                b"",
            ):
                with pytest.raises(InvalidSignature):
                    reader(name).verify(RawWebhook(webhook.method, webhook.url, webhook.headers, body))


@pytest.mark.parametrize("name", WITH_WEBHOOKS)
async def test_a_webhook_signed_with_another_secret_is_refused_until_the_secret_is_ours(name: str) -> None:
    provider = PROVIDERS[name]
    body = fixture_body(name, next(file for one, file in WEBHOOK_FIXTURES if one == name))
    with pytest.raises(InvalidSignature):
        reader(name).verify(signed_webhook(name, body, provider.stranger))
    both = f"{provider.stranger},{provider.settings[provider.signing_secret]}"
    for secret in both.split(","):
        reader(name, **{provider.signing_secret: both}).verify(signed_webhook(name, body, secret))


async def test_every_known_webhook_of_the_provider_is_read(subtests: pytest.Subtests) -> None:
    for name, file in WEBHOOK_FIXTURES:
        with subtests.test(f"{name}: {file}"):
            events = read(name, fixture_body(name, file))
            assert events
            assert len({event.dedupe_key for event in events}) == len(events)
            assert all(event.raw and event.event_type for event in events)
            assert read(name, fixture_body(name, file)) == events


@pytest.mark.parametrize(("name", "file"), UNKNOWN)
async def test_an_unknown_webhook_stays_unknown_and_is_kept(name: str, file: str) -> None:
    events = read(name, fixture_body(name, file))
    assert [type(event) for event in events] == [OtherEvent]


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"{", b"a=b&c=d", b"[]", b'{"a": [' * 10_000])
@pytest.mark.parametrize("name", WITH_WEBHOOKS)
async def test_nothing_breaks_the_reader(name: str, body: bytes) -> None:
    webhook = signed_webhook(name, b"")
    [event] = reader(name).parse(RawWebhook(webhook.method, webhook.url, webhook.headers, body))
    assert isinstance(event, OtherEvent)
