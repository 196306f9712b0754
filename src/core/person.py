"""A person by their address: every spelling of it, and whether a text contains one."""

import re
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category, normalize
from urllib.parse import unquote_plus
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Integer,
    TableValuedAlias,
    Text,
    and_,
    case,
    cast,
    column,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from core.addresses import MAX_LENGTH, email_address, known_address, phone_address
from core.brazil import full_form, variants
from core.characters import check_line
from core.errors import InputRule, InvalidInput
from core.masking import BASE64_PART, decoded_parts
from core.sealing import Sealer
from core.words import say

_FEWEST, _MOST = 8, 15
_BRAZIL = "55"
_BETWEEN = frozenset({"Zs", "Cf", "Pd", "Ps", "Pe"})
"""Unicode's categories of characters between digits: spaces, invisible marks, dashes, brackets."""


@dataclass(frozen=True, slots=True)
class Person:
    """The owner of an address: `address` is its normal form, `spellings` are those under which it may be stored."""

    address: str
    spellings: frozenset[str]
    needles: frozenset[str]
    """What a text about them contains, in lower case: as a word of its own where it is digits."""

    @classmethod
    def of(cls, address: str) -> "Person":
        """The person of an address, in any of the forms in which it is stored."""
        found = known_address(address)
        if found.kind == "phone":
            return cls._with_number(re.sub("[^0-9]", "", found.value))
        forms = frozenset({address, found.value, found.value.lower()})
        return cls(found.value, forms, frozenset(form.lower() for form in forms))

    @classmethod
    def _with_number(cls, digits: str) -> "Person":
        ways = variants(digits)
        local = {way.removeprefix(_BRAZIL) for way in ways if way.startswith(_BRAZIL) and len(way) > 11}
        return cls(f"+{full_form(digits)}", frozenset({f"+{way}" for way in ways} | ways), ways | local)

    def hashes(self, sealer: Sealer, tenant: UUID) -> list[bytes]:
        """The look-up hashes of every spelling under every key."""
        return [found for way in self.spellings for found in sealer.lookup_hashes(way, tenant=tenant)]

    def is_in(self, text: str) -> bool:
        """Whether a text contains the address: plain, form-encoded, or in base64."""
        return any(self._is_in(one) for one in (text, unquote_plus(text), *decoded_parts(text)))

    def _is_in(self, text: str) -> bool:
        return re.search(self.pattern, text.lower()) is not None

    @property
    def pattern(self) -> str:
        """A regular expression, also valid in PostgreSQL, for a text in lower case that contains the address."""
        words = "|".join(re.escape(one) for one in sorted(self.needles))
        if self.address.startswith("+"):
            return f"(^|[^0-9])({words})([^0-9]|$)"
        # A longer name before the @, or a longer domain, as in .com.br, is another person's.
        return rf"(^|[^0-9a-z.])({words})(?!\.[a-z]{{2,3}}([^0-9a-z]|$))([^0-9a-z]|$)"


def read_person(*, phone: str | None, email: str | None, whatsapp_user_id: str | None, path: Collection[str]) -> Person:
    """Read a person; more is accepted than in a message's recipient, since old numbers are erased too."""
    place = list(path)
    if phone is not None:
        return _by_phone(phone, [*place, "phone"])
    if email is not None:
        return Person.of(email_address(email, path=[*place, "email"]).value)
    given = (whatsapp_user_id or "").strip(" ")
    check_line(given, [*place, "whatsappUserId"])
    if known_address(given).kind != "whatsapp-user":
        text = say(
            "WHATSAPP_USER_MALFORMED",
            (
                "This is not a WhatsApp user id. One looks like BR.13491208655302741918: two capital letters, a "
                "dot, then letters or digits. The field `from` of a message from the person contains it."
            ),
        )
        raise InvalidInput(text, path=[*place, "whatsappUserId"], rule=InputRule.MALFORMED)
    return Person.of(given)


def _by_phone(raw: str, path: list[str]) -> Person:
    try:
        return Person.of(phone_address(raw, path=path).value)
    except InvalidInput:
        digits = _digits(raw) if len(raw) <= MAX_LENGTH else None
        if digits is None:
            raise
        # No telephone has it today. It may be a former number, or a mobile number without its ninth digit.
        return Person.of(f"+{digits}")


def _digits(raw: str) -> str | None:
    """The digits of a number with its country code, without the spaces and dashes between; None for other texts."""
    bare = "".join(sign for sign in normalize("NFKC", raw) if category(sign) not in _BETWEEN and sign not in "./")
    digits = bare.removeprefix("+")
    is_number = bare != digits and digits.isascii() and digits.isdigit() and _FEWEST <= len(digits) <= _MOST
    return digits if is_number else None


# What encode(…, 'escape') writes for a backslash, and for bytes that are zero or not ASCII.
_ESCAPED = r"\\(\\|[0-7]{3})"
_PUNCTUATION = "%[0-9a-f]{2}|[ ().+-]"
# Arabic, Persian and Hindi digits.
_OTHER_DIGITS = ("".join(chr(first + n) for first in (0x660, 0x6F0, 0x966) for n in range(10)), "0123456789" * 3)


NAMES_AT_ONCE = 5_000
"""A statement that reads more names might not end in time."""


async def find_names(
    connection: AsyncConnection, name: Column[Any], key: Column[Any], tenant: UUID, person: Person
) -> AsyncIterator[Sequence[Any]]:
    """Yield the keys of a tenant's rows whose name contains a person's address, page by page, by `key`.

    The table has the column `tenant_id`, and an index on it and the key.
    """
    of_tenant = select(
        key.label("key"),
        func.row_number().over(order_by=key).label("number"),
        spells_person(name, person).label("is_found"),
    ).where(name.table.c.tenant_id == tenant)
    after: Any = None
    while True:
        page = of_tenant if after is None else of_tenant.where(key > after)
        one = page.order_by(key).limit(NAMES_AT_ONCE).subquery("one")
        last = one.c.number == NAMES_AT_ONCE
        rows = (await connection.execute(select(one).where(or_(one.c.is_found, last)).order_by(one.c.number))).all()
        if found := [row.key for row in rows if row.is_found]:
            yield found
        if not rows or rows[-1].number < NAMES_AT_ONCE:
            return
        after = rows[-1].key


def spells_person(name: Any, person: Person) -> ColumnElement[bool]:
    """SQL: whether a name contains a person's address, as it is or in base64."""
    # Full-width signs and the digits of other scripts are read as ASCII, and the %40 of a form as @.
    plain = func.translate(func.lower(func.normalize(name, literal_column("NFKC"))), *_OTHER_DIGITS)
    decoded = _decoded_parts(name)
    in_base64 = exists().select_from(decoded).where(_spells(_decoded(decoded.c.part), person))
    # Most names have no part that may be base64, and this comparison costs little.
    return or_(_spells(func.replace(plain, "%40", "@"), person), and_(name.op("~")(BASE64_PART), in_base64))


def _spells(plain: ColumnElement[str], person: Person) -> ColumnElement[bool]:
    spells = plain.op("~")(person.pattern)
    if not person.address.startswith("+"):
        return spells
    # Also numbers with punctuation: (11) 98765-4321.
    return or_(spells, func.regexp_replace(plain, _PUNCTUATION, "", "g").op("~")(person.pattern))


def _decoded_parts(name: Any) -> TableValuedAlias:
    """SQL: the parts of a name that may be base64, as `core.masking.decoded_parts` finds them; not decoded yet."""
    found = func.regexp_matches(name, BASE64_PART, "g")
    return found.table_valued(column("part", ARRAY(Text))).render_derived()


def _decoded(part: ColumnElement[Sequence[str]]) -> ColumnElement[str]:
    """SQL: a part decoded, in lower case, with | for each byte that is not ASCII; empty where it is no base64."""
    encoded = part[1]
    length = func.length(encoded)
    bytes = func.decode(func.rpad(encoded, cast(func.ceil(length / 4.0) * 4, Integer), "="), "base64")
    written = func.regexp_replace(func.encode(bytes, "escape"), _ESCAPED, "|", "g")
    return case((length % 4 != 1, func.lower(written)), else_="")


def erased_name(id: Any) -> ColumnElement[str]:
    """SQL: what replaces a name that contained an address."""
    return literal("erased-", Text) + cast(id, Text)
