"""A webhook taken apart: each report and each message with a webhook of its own around it.

Meta puts many into one request. https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.whatsapp.reading import Json, items, part, text

LISTS = ("messages", "statuses")
_FIELD = "messages"
"""The field whose changes hold those lists; a change of any other field is kept as it is."""
_THEIR_NAMES = ("wa_id", "user_id")
_CALLED = ("from", "from_user_id", "recipient_id", "recipient_user_id")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing Meta tells: an item of the list `name`, or the whole change of a field of this name.

    `value` is what it stood in, `raw` the webhook as it would be with nothing else in it.
    """

    name: str
    content: Any
    value: Json
    raw: str
    is_whole_change: bool = False


def take_apart(webhook: Any) -> Iterator[Item]:
    """Yield what a webhook holds, in its order; what is no webhook holds nothing."""
    for entry in items(webhook, "entry"):
        for change in items(entry, "changes"):
            yield from _items(_without(webhook, "entry"), _without(entry, "changes"), change)


def _items(webhook: Json, entry: Json, change: Any) -> Iterator[Item]:
    def written(piece: Any) -> str:
        return json.dumps({**webhook, "entry": [{**entry, "changes": [piece]}]}, separators=(",", ":"))

    value, field = part(change, "value"), text(change, "field") or ""
    lists = [name for name in LISTS if items(value, name)]
    if field != _FIELD or not lists:
        yield Item(field, change, value, written(change), is_whole_change=True)
        return
    around, people = _without(value, "contacts", *LISTS), _people(value)
    for name in lists:
        for content in items(value, name):
            alone = {**around, **_contacts(people, content), name: [content]}
            yield Item(name, content, value, written({**change, "value": alone}))


def _without(data: Json, *names: str) -> Json:
    return {key: value for key, value in data.items() if key not in names}


def _people(value: Json) -> Mapping[str, Any]:
    """The people of a batch by each of their names."""
    contacts = items(value, "contacts")
    return {name: person for person in contacts for key in _THEIR_NAMES if (name := text(person, key))}


def _contacts(people: Mapping[str, Any], content: Any) -> Mapping[str, Sequence[Any]]:
    """Those whom an item concerns: all of them around each item would make a large batch enormous."""
    called = (text(content, key) for key in _CALLED)
    found = {id(person): person for name in called if name and (person := people.get(name))}
    return {"contacts": list(found.values())} if found else {}
