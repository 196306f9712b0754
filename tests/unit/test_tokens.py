"""Development tokens: accepted if this server signed them and until they expire; refused otherwise."""

import base64
import json
import time
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access.sessions import CLI, DevelopmentTokens
from core.errors import NotAllowed, Unauthenticated
from core.ports.identity import DEFAULT_TENANT, ActorKind, Scope

TOKENS = DevelopmentTokens(b"k" * 32)


def test_a_token_speaks_for_its_tenant_with_every_right() -> None:
    tenant = uuid4()
    principal = TOKENS.read(TOKENS.make(tenant=tenant, subject="ana"))
    assert (principal.tenant_id, principal.subject) == (tenant, "ana")
    assert all(principal.require(scope) is principal for scope in Scope)


def test_a_token_is_for_the_first_tenant_by_default() -> None:
    assert TOKENS.read(TOKENS.make()).tenant_id == DEFAULT_TENANT


def test_a_right_that_is_not_held_is_named() -> None:
    principal = TOKENS.read(TOKENS.make())
    reader = type(principal)(principal.tenant_id, "reader", {Scope.MESSAGES_READ})
    with pytest.raises(NotAllowed, match="MESSAGES_SEND"):
        reader.require(Scope.MESSAGES_SEND)


def test_a_token_lasts_thirty_days(monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = TOKENS.make(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 29 * 24 * 3600)
    assert TOKENS.read(token)
    monkeypatch.setattr(time, "time", lambda: now + 31 * 24 * 3600)
    with pytest.raises(Unauthenticated, match="expired"):
        TOKENS.read(token)


def with_claims(token: str, **claims: object) -> str:
    """The token with other claims under its old signature."""
    body, signature = token.removeprefix("iadev_").split(".")
    known = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = base64.urlsafe_b64encode(json.dumps(known | claims).encode()).rstrip(b"=").decode()
    return f"iadev_{changed}.{signature}"


GOOD = TOKENS.make()
REFUSED = {
    "nothing": "",
    "its prefix alone": "iadev_",
    "no signature": GOOD.split(".")[0],
    "an empty signature": GOOD.split(".")[0] + ".",
    "another signature": GOOD.split(".")[0] + "." + "A" * 43,
    "a signature cut short": GOOD[:-1],
    "a signature with padding": GOOD + "=",
    "one more part": GOOD + ".x",
    "another tenant": with_claims(GOOD, tenant=str(UUID(int=1))),
    "a longer life": with_claims(GOOD, exp=2**40),
    "another prefix": "iaprd_" + GOOD.removeprefix("iadev_"),
    "no prefix": GOOD.removeprefix("iadev_"),
    "a prefix too many": "iadev_" + GOOD,
    "another key's": DevelopmentTokens(b"x" * 32).make(),
    "a megabyte": "iadev_" + "A" * 1_000_000,
    "letters that are not ASCII": "iadev_ação.ção",
    "half a surrogate pair": "iadev_x.\ud800",
    "nothing that was signed": "iadev_." + "A" * 43,
}


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_token_is_refused(case: str) -> None:
    with pytest.raises(Unauthenticated, match="interalpha token"):
        TOKENS.read(REFUSED[case])


@given(st.text())
def test_no_text_breaks_the_reading_of_tokens(text: str) -> None:
    for token in (text, f"iadev_{text}", f"iadev_{text}.{text}"):
        with pytest.raises(Unauthenticated):
            TOKENS.read(token)


def test_a_signed_body_that_cannot_be_read_is_refused() -> None:
    for body in ("", "e30x", "not-json"):
        with pytest.raises(Unauthenticated, match="cannot be read"):
            TOKENS.read(f"iadev_{body}.{TOKENS._sign(body)}")


def test_command_tokens_are_distinguished_from_developer_tokens() -> None:
    assert TOKENS.read(TOKENS.make(subject=CLI)).kind is ActorKind.CLI
    assert TOKENS.read(TOKENS.make()).kind is ActorKind.DEVELOPMENT
