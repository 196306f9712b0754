"""What companies sent, made fit to be shown: codes, ids, states and moments stay, everything else is masked.

Only what is known to be harmless is let through, whoever the company is: a field nobody has thought of is masked.
"""

import json
import re
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import parse_qsl

from core.privacy.spelling import spells_a_number

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MASK = "••••"
_DEEPEST = 32
_MOST_FIELDS = 1_000

# Names as they are compared: small letters and digits only, so that MessageSid and message_sid are one.
_PLAIN = frozenset(
    {
        # ids: ours, the company's, the account's; never one that is a person's number
        "id",
        "sid",
        "messageid",
        "messagesid",
        "smssid",
        "smsmessagesid",
        "accountsid",
        "messagingservicesid",
        "phonenumberid",
        "messagetemplateid",
        "bizopaquecallbackdata",
        "fbtraceid",
        # what happened
        "status",
        "messagestatus",
        "smsstatus",
        "event",
        "type",
        "object",
        "field",
        "messagingproduct",
        "direction",
        "origin",
        # codes
        "code",
        "errorcode",
        "errorsubcode",
        "reason",
        # how it is counted and billed
        "numsegments",
        "nummedia",
        "billable",
        "pricingmodel",
        "category",
        "mimetype",
        "apiversion",
        "version",
        "messagetemplatelanguage",
    }
)
_MOMENTS = frozenset(
    {"timestamp", "createdat", "created", "datecreated", "datesent", "rawdlrdonedate", "expirationtimestamp"}
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,63}")
# One word: no space, no @, no leading plus.
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/=-]{0,255}")
# As long as a telephone number or a citizen's; the companies' own ids are longer, their codes shorter.
_PERSONS_NUMBER = re.compile(r"[0-9]{7,14}")


def redacted(raw: str) -> Json:
    """Read JSON or a form and mask what could be somebody's; None where there is nothing to read."""
    if not raw.strip():
        return None
    try:
        return _value(json.loads(raw), "", 0)
    except RecursionError:
        return MASK
    except ValueError:
        return _form(raw)


def _form(raw: str) -> Json:
    try:
        fields = parse_qsl(raw, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return MASK
    return _object(fields, 0)


def _value(value: object, name: str, depth: int) -> Json:
    match value:
        case _ if depth > _DEEPEST:
            return MASK
        case dict():
            return _object(value.items(), depth)
        case list():
            return [_value(one, name, depth + 1) for one in value]
        case None | bool():
            return value
        case int():
            # Beyond this no JavaScript reads a number as it was written.
            known = value if abs(value) < 2**53 else str(value)
            return known if _is_harmless(str(value), name) else MASK
        case str():
            return value if _is_harmless(value, name) else MASK
        case _:
            return MASK


def _object(fields: Iterable[tuple[object, object]], depth: int) -> dict[str, Json]:
    # A name can hold somebody's number as well as a value can.
    named = ((name if isinstance(name, str) and _NAME.fullmatch(name) else MASK, value) for name, value in fields)
    return {name: _value(value, name, depth + 1) for name, value in named}


def _is_harmless(text: str, name: str) -> bool:
    if not text:
        return True
    compared = re.sub("[^a-z0-9]", "", name.lower())
    if compared in _MOMENTS:
        return _WORD.fullmatch(text) is not None and not text.isalpha()
    if compared not in _PLAIN or _WORD.fullmatch(text) is None:
        return False
    # WhatsApp's ids of messages hold the person's number in base64.
    return not _PERSONS_NUMBER.fullmatch(text) and not spells_a_number(text)
