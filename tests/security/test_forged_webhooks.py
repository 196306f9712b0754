"""Forged webhooks of every provider that sends any, posted to the real application.

All of them are answered alike, and leave nothing behind. What a signature covers differs between providers; the
forgeries are the same for all: a header with a signature has `signature` in its name, one with a time `timestamp`.
"""

import base64
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import httpx
import pytest

from api.bootstrap import NotReady, build_app
from api.configuration import load_configuration
from core.ports import RawWebhook
from core.settings import describe
from integrations.registry import all_integrations
from tests.apps import build_application
from tests.contract.providers import PROVIDERS, WEBHOOK_FIXTURES, WITH_WEBHOOKS, fixture_body, signed_webhook
from tests.databases import ENCRYPTION_KEY, SharedStores, Urls
from tests.edge.factories import client_of

Forgery = Callable[[str, RawWebhook], RawWebhook | None]
SIGNED = {name: dict(PROVIDERS[name].settings) for name in WITH_WEBHOOKS}
PROVIDER_SETTINGS = [one.name for card in all_integrations().values() for one in describe(card.settings)]


def good(name: str) -> RawWebhook:
    return signed_webhook(name, fixture_body(name, next(file for one, file in WEBHOOK_FIXTURES if one == name)))


def with_headers(webhook: RawWebhook, **changed: str) -> RawWebhook:
    return RawWebhook(webhook.method, webhook.url, {**webhook.headers, **changed}, webhook.body)


def with_signature(change: Callable[[str], str]) -> Forgery:
    def forge(_: str, webhook: RawWebhook) -> RawWebhook:
        changed = {key: change(text) for key, text in webhook.headers.items() if "signature" in key}
        assert changed
        return with_headers(webhook, **changed)

    return forge


def weaker(text: str) -> str:
    """A signature that claims an algorithm which is no longer accepted."""
    for ours, theirs in (("sha256=", "sha1="), ("v1,", "v0,")):
        if text.startswith(ours):
            return theirs + text.removeprefix(ours)
    return f"sha1={text}"


def at(seconds: float) -> Forgery:
    """The time moved, with the signature it had."""

    def forge(_: str, webhook: RawWebhook) -> RawWebhook | None:
        changed = {key: str(int(time.time() + seconds)) for key in webhook.headers if "timestamp" in key}
        return with_headers(webhook, **changed) if changed else None

    return forge


def signed_at(seconds: float) -> Forgery:
    """Signed correctly, at another time: a recorded webhook."""

    def forge(name: str, webhook: RawWebhook) -> RawWebhook | None:
        if not any("timestamp" in key for key in webhook.headers):
            return None
        with pytest.MonkeyPatch.context() as patch:
            then = time.time() + seconds
            patch.setattr(time, "time", lambda: then)
            return signed_webhook(name, webhook.body)

    return forge


def stranger(name: str, webhook: RawWebhook) -> RawWebhook:
    return signed_webhook(name, webhook.body, PROVIDERS[name].stranger)


def empty_secret(name: str, webhook: RawWebhook) -> RawWebhook:
    return signed_webhook(name, webhook.body, "whsec_" if name == "clerk" else "\0")


def with_body(change: Callable[[bytes], bytes]) -> Forgery:
    return lambda _, webhook: RawWebhook(webhook.method, webhook.url, webhook.headers, change(webhook.body))


def of_another(name: str, webhook: RawWebhook) -> RawWebhook:
    """The headers of another provider's webhook, with the same body."""
    other = next(one for one in WITH_WEBHOOKS if one != name)
    return RawWebhook(webhook.method, webhook.url, signed_webhook(other, webhook.body).headers, webhook.body)


def in_the_query(_: str, webhook: RawWebhook) -> RawWebhook:
    kept = {key: text for key, text in webhook.headers.items() if "signature" not in key}
    query = "&".join(f"{key}={text}" for key, text in webhook.headers.items() if "signature" in key)
    return RawWebhook(webhook.method, f"{webhook.url}?{query}", kept, webhook.body)


def unsigned(_: str, webhook: RawWebhook) -> RawWebhook:
    kept = {key: text for key, text in webhook.headers.items() if "signature" not in key}
    return RawWebhook(webhook.method, webhook.url, kept, webhook.body)


FORGERIES: dict[str, Forgery] = {
    "without a signature": unsigned,
    "an empty signature": with_signature(lambda _: ""),
    "a space for a signature": with_signature(lambda _: " "),
    "nonsense": with_signature(lambda _: "nonsense"),
    "its prefix alone": with_signature(lambda text: text[:3]),
    "cut short": with_signature(lambda text: text[:-4]),
    "one letter changed": with_signature(lambda text: text[:-3] + ("A" if text[-3] != "A" else "B") + text[-2:]),
    "in capitals": with_signature(str.upper),
    "in another encoding": with_signature(lambda text: base64.b64encode(text.encode()).decode()),
    "in two": with_signature(lambda text: f"{text[:10]} {text[10:]}"),
    "of another algorithm": with_signature(weaker),
    "of another version": with_signature(lambda text: f"v1a,{text}"),
    "too long": with_signature(lambda text: text * 100),
    "not ASCII": with_signature(lambda text: "ç" + text[1:]),
    "a thousand signatures": with_signature(lambda _: " ".join(["v1,AAAA"] * 1_000)),
    "in the address": in_the_query,
    "a stranger's secret": stranger,
    "an empty secret": empty_secret,
    "another company's signature": of_another,
    "one byte more": with_body(lambda body: body + b" "),
    "one byte less": with_body(lambda body: body[:-1]),
    "another body": with_body(lambda _: b"{}"),
    "no body": with_body(lambda _: b""),
    "the same body in another order": with_body(lambda body: b"&".join(reversed(body.split(b"&"))) + b"&a=b"),
    "an old time": at(-3_600),
    "a time to come": at(3_600),
    "recorded an hour ago": signed_at(-3_600),
    "recorded six minutes ago": signed_at(-360),
    "signed by a clock that is ahead": signed_at(360),
}
CASES = [
    (name, kind) for name in WITH_WEBHOOKS for kind, forge in FORGERIES.items() if forge(name, good(name)) is not None
]


@pytest.fixture(scope="module")
async def urls_here(stores: SharedStores) -> AsyncIterator[Urls]:
    async with stores.database() as urls:
        yield urls


@pytest.fixture(scope="module")
async def client(urls_here: Urls) -> AsyncIterator[httpx.AsyncClient]:
    settings = {key: text for name in WITH_WEBHOOKS for key, text in SIGNED[name].items()}
    application = build_application(urls_here, **settings)
    async with client_of(application) as client:
        yield client
    await application.close()


async def post(client: httpx.AsyncClient, webhook: RawWebhook) -> httpx.Response:
    path = webhook.url.removeprefix("https://api.example.com")
    headers = [(key.encode(), text.encode()) for key, text in webhook.headers.items()]
    return await client.post(path, content=webhook.body, headers=headers)


async def kept(urls: Urls) -> int:
    connection = await asyncpg.connect(urls.superuser)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM inbox"))
    finally:
        await connection.close()


def test_providers_with_a_timestamp_are_tried_with_other_times() -> None:
    assert {name for name, kind in CASES if kind == "recorded an hour ago"} >= {"clerk"}
    assert len(CASES) > 60


@pytest.mark.parametrize("name", WITH_WEBHOOKS)
async def test_what_is_forged_below_is_taken_when_it_is_not_and_once(
    client: httpx.AsyncClient, urls_here: Urls, name: str
) -> None:
    before = await kept(urls_here)
    webhook = good(name)
    assert (await post(client, webhook)).status_code == 204
    after = await kept(urls_here)
    assert after > before
    # Replayed: answered, so that a provider that lost our answer stops, and stored only once.
    assert (await post(client, webhook)).status_code == 204
    assert await kept(urls_here) == after


async def test_a_forged_webhook_is_refused_and_leaves_nothing_behind(
    subtests: pytest.Subtests, client: httpx.AsyncClient, urls_here: Urls
) -> None:
    for name, kind in CASES:
        with subtests.test(f"{name}: {kind}"):
            forged = FORGERIES[kind](name, good(name))
            assert forged is not None
            before = await kept(urls_here)
            answer = await post(client, forged)
            assert (answer.status_code, answer.content) == (401, b"")
            assert {key: text for key, text in answer.headers.items() if "signature" in key or "webhook" in text} == {}
            assert await kept(urls_here) == before


@pytest.mark.parametrize("name", WITH_WEBHOOKS)
async def test_a_signature_for_one_address_is_none_for_another(client: httpx.AsyncClient, name: str) -> None:
    """For providers that do not sign the address, the signature is of a secret that only one address has."""
    for other in WITH_WEBHOOKS:
        if other != name:
            webhook = good(name)
            elsewhere = RawWebhook(webhook.method, webhook.url.replace(name, other), webhook.headers, webhook.body)
            assert (await post(client, elsewhere)).status_code == 401


# ─── without a secret no webhook is accepted ────────────────────────────────


def surroundings(urls: Urls) -> dict[str, str]:
    return {
        "APP_ENV": "test",
        "DATABASE_URL": urls.app,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
        "PUBLIC_BASE_URL": "https://api.example.com",
    }


@pytest.mark.parametrize("nothing", [None, "", " ", ","])
@pytest.mark.parametrize("name", WITH_WEBHOOKS)
def test_without_a_signing_secret_nothing_starts(urls_here: Urls, name: str, nothing: str | None) -> None:
    secret = PROVIDERS[name].signing_secret
    environment = {**surroundings(urls_here), **SIGNED[name]}
    assert load_configuration(environment).problems == ()
    given = {key: text for key, text in environment.items() if key != secret}
    configuration = load_configuration(given if nothing is None else {**given, secret: nothing})
    assert [problem.setting for problem in configuration.problems] == [secret]
    with pytest.raises(NotReady):
        build_app(configuration)


@pytest.mark.parametrize("name", WITH_WEBHOOKS)
async def test_webhooks_of_an_unconfigured_provider_are_refused(urls_here: Urls, name: str) -> None:
    application = build_application(urls_here, **dict.fromkeys(PROVIDER_SETTINGS, ""))
    before = await kept(urls_here)
    async with client_of(application) as client:
        for webhook in (good(name), empty_secret(name, good(name)), unsigned(name, good(name))):
            assert (await post(client, webhook)).status_code == 404
    await application.close()
    assert await kept(urls_here) == before
