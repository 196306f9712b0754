"""An API key as somebody wants it: checked before it is made, against what its maker may do."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.access.key_format import KeyKind
from core.access.principal import Principal, Scope
from core.access.reach import EVERYWHERE, Reach, one_form
from core.addresses import Address
from core.characters import line_errors, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, Refused
from core.privacy.spelling import names_somebody
from core.words import say

LONGEST_NAME = 100
MOST_RECIPIENTS = 100
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=3_650)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is to be: `expires_in` None for one without an end; `recipients` only for an allow list."""

    name: str
    kind: KeyKind
    scopes: Collection[Scope]
    recipients: Sequence[Address] = ()
    expires_in: timedelta | None = None

    @property
    def reach(self) -> Reach:
        """Whom its messages may reach."""
        match self.kind:
            case KeyKind.LIVE:
                return EVERYWHERE
            case KeyKind.TEST:
                return Reach(simulated_only=True)
            case KeyKind.ALLOW_LIST:
                return Reach(recipients=frozenset(one_form(one.value) for one in self.recipients))


def check_new_key(key: NewKey, maker: Principal | None) -> None:
    """Raise Refused with all that is wrong; without a maker, whoever asks has the database itself."""
    errors: list[AppError] = [*_errors(key), *(_excesses(key, maker) if maker is not None else ())]
    if errors:
        raise Refused(errors)


def _errors(key: NewKey) -> Iterator[AppError]:
    if refused_on_line(key.name):
        yield from line_errors(key.name, ["input", "name"])
    elif not key.name.strip():
        yield _wrong(say("API_KEY_NAME_MISSING", "Give it a name, to recognise it by."), "name", InputRule.REQUIRED)
    elif len(key.name) > LONGEST_NAME:
        text = say("API_KEY_NAME", "A key's name has at most {most} characters, on one line.", most=LONGEST_NAME)
        yield _wrong(text, "name", InputRule.MALFORMED)
    elif names_somebody(key.name):
        text = say(
            "API_KEY_NAME_HOLDS_ADDRESS",
            "A key's name is kept for good, and this one looks like a telephone number or an e-mail address."
            " Name the system that uses the key.",
        )
        yield _wrong(text, "name", InputRule.NOT_ALLOWED)
    if not key.scopes:
        yield _wrong(
            say("API_KEY_WITHOUT_SCOPES", "A key without scopes may do nothing: name at least one."),
            "scopes",
            InputRule.REQUIRED,
        )
    if key.expires_in is not None and not SHORTEST <= key.expires_in <= LONGEST:
        yield _wrong(
            say("API_KEY_LIFE", "A key lives from PT1M to P3650D; leave `expiresIn` out for no end."), "expiresIn"
        )
    if key.kind is not KeyKind.ALLOW_LIST and key.recipients:
        text = say(
            "API_KEY_RECIPIENTS_UNUSED",
            "Only keys of the kind ALLOW_LIST have recipients; this one is {kind}.",
            kind=key.kind,
        )
        yield _wrong(text, "allowedRecipients", InputRule.NOT_ALLOWED)
    elif key.kind is KeyKind.ALLOW_LIST and not 1 <= len(key.recipients) <= MOST_RECIPIENTS:
        rule = InputRule.TOO_LONG if key.recipients else InputRule.REQUIRED
        yield _wrong(
            say("API_KEY_RECIPIENTS", "An allow list names from 1 to {most} recipients.", most=MOST_RECIPIENTS),
            "allowedRecipients",
            rule,
        )


def _excesses(key: NewKey, maker: Principal) -> Iterator[AppError]:
    """What the maker may not do itself, and so cannot give away."""
    if beyond := [scope for scope in Scope if scope in key.scopes and scope not in maker.scopes]:
        text = say(
            "API_KEY_BEYOND_SCOPES",
            "These credentials lack {scopes}, so they cannot give it away.",
            scopes=", ".join(beyond),
        )
        yield _wrong(text, "scopes", InputRule.NOT_ALLOWED)
    if not maker.reach.covers(key.reach):
        text = say(
            "API_KEY_BEYOND_REACH",
            "This key would reach people its maker does not: a test key makes test keys, an allow list parts of it.",
        )
        yield _wrong(text, "kind", InputRule.NOT_ALLOWED)


def outlives(ends: datetime | None, maker: Principal | None) -> bool:
    """Whether a key would go on after the key that makes it; sessions of people end too soon to bind anything."""
    if maker is None or maker.api_key is None or maker.expires_at is None:
        return False
    return ends is None or ends.timestamp() > maker.expires_at


def outliving() -> Refused:
    """The error for a key that would go on after its maker."""
    return Refused(
        [
            _wrong(
                say("API_KEY_OUTLIVES", "A key cannot make one that lives longer than itself: give an `expiresIn`."),
                "expiresIn",
            )
        ]
    )


def _wrong(text: str, name: str, rule: InputRule = InputRule.OUT_OF_RANGE) -> InvalidInput:
    return InvalidInput(text, path=["input", name], rule=rule)
