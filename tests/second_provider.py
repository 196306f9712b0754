"""A second provider of SMS in a folder of its own, as a new provider would be added: no file of the product names it.

`Pigeon.plan` decides how its calls end; what it was asked to send and to look up is remembered.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest

import integrations
from api import configuration
from integrations.registry import all_integrations

PIGEON = {"PIGEON_KEY": "pigeonpigeonpigeon", "PIGEON_NUMBER": "+15005550009"}
_CARD = '''
"""Text messages through a provider that exists in tests only."""

import json
from collections.abc import Sequence
from datetime import date

from pydantic import SecretStr

from core.errors import InvalidSignature
from core.ports import (
    Channel, Connected, Integration, IntegrationContext, LookupRequest, Mode, OutboundMessage, ProviderEvent,
    ProviderRecord, RawWebhook, Receipt, Reference, ReportedStatus, StatusReport,
)
from core.settings import IntegrationSettings, setting

SENT: list[OutboundMessage] = []
SOUGHT: list[LookupRequest] = []
LISTED: list[ProviderRecord] = []
ERRORS: list[Exception] = []


class Settings(IntegrationSettings):
    key: SecretStr = setting("PIGEON_KEY", about="Signs webhooks", fix="16 letters or more", matches="[a-z]{16,}")
    number: str = setting("PIGEON_NUMBER", about="Our number", fix="+ and digits")

    @property
    def base_addresses(self) -> tuple[str, ...]:
        return ("https://pigeon.example",)


class Sender:
    async def send(self, message: OutboundMessage) -> Receipt:
        SENT.append(message)
        if ERRORS:
            raise ERRORS.pop()
        return Receipt(f"P{message.reference.message_id.hex}")


class Lookup:
    async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
        SOUGHT.append(sought)
        return LISTED

    async def count(self, day: date) -> int | None:
        return None


class Webhooks:
    def __init__(self, key: str) -> None:
        self._key = key

    def verify(self, webhook: RawWebhook) -> None:
        if webhook.headers.get("x-pigeon-key") != self._key:
            raise InvalidSignature("the key does not match")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        data = json.loads(webhook.body)
        reference = Reference.parse(data.get("reference"))
        status = ReportedStatus(data["status"])
        key = f"{data['id']}:{status}"
        return [StatusReport(key, status, "{}", status=status, reference=reference, provider_message_id=data["id"])]


def connect(settings: Settings, _context: IntegrationContext) -> Connected:
    return Connected(
        mode=Mode.LIVE,
        sender=Sender(),
        webhooks=Webhooks(settings.key.get_secret_value()),
        lookup=Lookup(),
        own_addresses=[settings.number],
    )


INTEGRATION = Integration(
    name="pigeon",
    title="Pigeon",
    docs="https://pigeon.example/docs",
    settings=Settings,
    channels=frozenset({Channel.SMS}),
    events=frozenset({StatusReport}),
    connect=connect,
)
'''


@contextmanager
def added_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Add the provider to the integrations that are found; gives its module, and removes every trace afterwards."""
    package = folder / "pigeon"
    (package / "simulator").mkdir(parents=True)
    (package / "__init__.py").write_text(_CARD)
    (package / "simulator" / "__init__.py").write_text("")
    monkeypatch.setattr(integrations, "__path__", [*integrations.__path__, str(folder)])
    invalidate_caches()
    _forget()
    try:
        yield import_module("integrations.pigeon")
    finally:
        monkeypatch.undo()
        for name in [one for one in sys.modules if one.startswith("integrations.pigeon")]:
            del sys.modules[name]
        _forget()


def _forget() -> None:
    for cached in (all_integrations, configuration.known_names, configuration._providers):
        cached.cache_clear()


@pytest.fixture
def pigeon(tmp_path: Path) -> Iterator[Any]:
    """The module of the second provider, added for one test."""
    with pytest.MonkeyPatch.context() as monkeypatch, added_folder(tmp_path / "more", monkeypatch) as module:
        yield module


__all__: Sequence[str] = ("PIGEON", "added_folder", "pigeon")
