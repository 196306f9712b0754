"""Contributions of nouns: found by folder, and refused by name where they do not fit together."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

import core
import integrations
from api.nouns import all_nouns, contributions
from core.database import metadata
from core.errors import BrokenContribution
from core.inbox.events import UnknownEvent
from core.nouns import Counter, EventOutcomes, EventType, InboxEvent, Noun, Owner
from core.ports import OtherEvent, ProviderEvent, StatusReport
from core.sealing import Sealer
from integrations.registry import all_integrations
from tests.contributed import EVENT_TYPES


class Unheard(ProviderEvent):
    """An event that no noun contributes."""


async def _apply(_connection: AsyncConnection, _sealer: Sealer, _events: Sequence[InboxEvent]) -> EventOutcomes:
    return EventOutcomes()


def _type(code: str, kind: type[ProviderEvent]) -> EventType[ProviderEvent]:
    return EventType(code, kind, lambda _event: {}, lambda key, name, _data: ProviderEvent(key, name, ""), _apply)


def _with(noun: Noun) -> dict[str, Noun]:
    return {**all_nouns(), noun.name: noun}


def test_what_is_contributed_twice_is_refused_by_name() -> None:
    messages = all_nouns()["messages"]
    [subject], [owner], [counter] = messages.subjects, messages.owners, messages.counters
    cases = {
        "the event type status (Unheard) is contributed twice": Noun("x", events=[_type("status", Unheard)]),
        "the event type mine (StatusReport) is contributed twice": Noun("x", events=[_type("mine", StatusReport)]),
        "the event type other (OtherEvent) is contributed twice": Noun("x", events=[_type("mine", OtherEvent)]),
        "the owners of sender are contributed twice": Noun("x", owners=[Owner("sender", owner.find)]),
        "the changes of Message is contributed twice": Noun("x", changes=messages.changes),
        "the tenant resource sender is contributed twice": Noun("x", resources=messages.resources),
        "the subject Message with the work x is contributed twice": Noun("x", subjects=[replace(subject, work="x")]),
        "the subject X with the work message.send is contributed twice": Noun(
            "x", subjects=[replace(subject, kind="X")]
        ),
        "the counter messages.status is contributed twice": Noun("x", counters=[replace(counter, title="X")]),
        "the counter x needs the columns tenant_id, transaction_id, sequence, at in workers": Noun(
            "x", counters=[Counter("x", "X", metadata.tables["workers"], ["name"])]
        ),
    }
    for words, noun in cases.items():
        with pytest.raises(BrokenContribution, match=re.escape(words)):
            contributions(_with(noun))


def test_what_no_noun_understands_is_never_taken_for_something_else() -> None:
    with pytest.raises(UnknownEvent, match="class Unheard"):
        EVENT_TYPES.encode(Unheard("k", "t", ""))
    with pytest.raises(UnknownEvent, match="of the kind invoice"):
        EVENT_TYPES.decode('{"key": "k", "type": "t", "kind": "invoice"}')
    assert not EVENT_TYPES.understands(Unheard)


@pytest.mark.parametrize(
    "text", ["", "NOUN = 1", "from core.nouns import Noun\nNOUN = Noun('other')"], ids=["none", "no_noun", "name"]
)
def test_a_folder_whose_noun_is_not_its_own_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken{len(text)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "noun.py").write_text(text)
    monkeypatch.setattr(core, "__path__", [*core.__path__, str(tmp_path)])
    all_nouns.cache_clear()
    try:
        with pytest.raises(BrokenContribution, match=f"core/{name}/noun.py must define NOUN"):
            all_nouns()
    finally:
        all_nouns.cache_clear()


def test_the_kind_of_a_subject_is_contributed_with_its_work() -> None:
    kinds = {one.kind: one.work for noun in all_nouns().values() for one in noun.subjects}
    assert kinds["Message"] == "message.send"


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("name='other', connect=connect", "the card in integrations/NAME has the name other"),
        ("name='NAME', connect=connect", "the settings in integrations/NAME must define base_addresses"),
    ],
    ids=["name", "addresses"],
)
def test_a_card_that_is_not_complete_is_refused_by_name(
    card: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken{len(card)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        "from core.ports import Integration\nfrom core.settings import IntegrationSettings\n"
        "def connect(settings, context): raise NotImplementedError\n"
        f"INTEGRATION = Integration({card.replace('NAME', name)}, title='x', docs='x', settings=IntegrationSettings)\n"
    )
    monkeypatch.setattr(integrations, "__path__", [*integrations.__path__, str(tmp_path)])
    all_integrations.cache_clear()
    try:
        with pytest.raises(BrokenContribution, match=words.replace("NAME", name)):
            all_integrations()
    finally:
        all_integrations.cache_clear()
