"""Clerk sessions: valid ones are accepted and read, and each forgery of a table is refused for its reason."""

import asyncio
import base64
import json
import time
from contextlib import suppress

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Unauthenticated
from core.ports import InvalidToken, Tenancy, TokenFault
from integrations.clerk.jwks import parse_keys
from tests.providers.clerk_tokens import (
    FORGED_TOKENS,
    GONE,
    KEY,
    PAGE,
    STRANGERS_JWK,
    b64,
    claims,
    header,
    private_pem,
    seconds_from_now,
    signed,
    token,
    verified,
    verifier,
    written,
)


async def test_a_valid_session_is_accepted_and_read() -> None:
    said = claims()
    identity = await verified(token(said))
    assert identity.subject == "user_2abcUSER0001"
    assert identity.session_id == "sess_2abc"
    assert identity.party == PAGE
    assert identity.expires_at.timestamp() == said["exp"]
    assert identity.issued_at.timestamp() == said["iat"]
    assert identity.organization is not None
    assert (identity.organization.id, identity.organization.slug) == ("org_2abcACME", "acme")
    assert identity.organization.role == "org:admin"
    assert (identity.tenancy, identity.actor) == (Tenancy.ORGANIZATION, None)


async def test_a_token_signed_by_another_library_is_accepted() -> None:
    text = jwt.encode(claims(), private_pem(KEY), algorithm="RS256", headers=header())
    assert (await verified(text)).subject == "user_2abcUSER0001"


@pytest.mark.parametrize(
    "change",
    [
        {"azp": GONE},
        {"sts": GONE},
        {"o": GONE},
        {"aud": "https://elsewhere.example.com"},
        {"fva": [0, -1], "pla": "u:free"},
        {"act": {"sub": "user_support", "iss": "https://dashboard.clerk.com", "sid": "sess_x"}},
    ],
)
async def test_optional_and_additional_claims_are_accepted(change: dict[str, object]) -> None:
    assert (await verified(token(claims(**change)))).subject == "user_2abcUSER0001"


async def test_without_a_category_it_is_a_session_all_the_same() -> None:
    assert await verified(token(header_=header(cat=GONE, typ=GONE)))


async def test_an_actor_on_behalf_of_another_is_named() -> None:
    assert (await verified(token(claims(act={"sub": "user_support"})))).actor == "user_support"


def test_the_table_is_long_enough() -> None:
    assert len(FORGED_TOKENS) >= 40


async def test_a_forgery_is_refused_for_its_reason_and_shown_nowhere(
    subtests: pytest.Subtests, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind in FORGED_TOKENS:
        with subtests.test(kind):
            caplog.clear()
            make, reason = FORGED_TOKENS[kind]
            text = make()
            with pytest.raises(InvalidToken) as caught:
                await verifier().verify(text)
            error = caught.value
            assert (error.reason, error.code) == (reason, "UNAUTHENTICATED")
            assert isinstance(error, Unauthenticated)
            told = f"{error!r} {error} {error.message} {error.__cause__!r} {caplog.text} {capfd.readouterr()}"
            assert [part for part in text.split(".") if len(part) > 8 and part in told] == []


@given(st.text(max_size=200))
async def test_no_text_does_anything_but_be_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        await verifier().verify(text)


@given(position=st.integers(0, 10_000), letter=st.sampled_from("ABab01-_."))
async def test_a_token_with_one_letter_changed_is_refused(position: int, letter: str) -> None:
    place = position % len(GOOD)
    changed = GOOD[:place] + letter + GOOD[place + 1 :]
    if changed != GOOD:
        with pytest.raises(InvalidToken):
            await verifier().verify(changed)


GOOD = token(claims(exp=int(time.time()) + 86_400))


async def test_a_cookie_needs_the_page_it_comes_from() -> None:
    assert (await verifier().verify(token(), needs_party=True)).party == PAGE
    with pytest.raises(InvalidToken) as caught:
        await verifier().verify(token(claims(azp=GONE)), needs_party=True)
    assert caught.value.reason is TokenFault.PARTY


async def test_every_page_is_welcome_as_long_as_none_is_named() -> None:
    text = token(claims(azp="http://localhost:3000"))
    assert (await verified(text, CLERK_AUTHORIZED_PARTIES="")).party == "http://localhost:3000"


def aged(**changes: object) -> dict[str, object]:
    """What a session said a minute ago."""
    return claims(**{"iat": seconds_from_now(-90), "nbf": seconds_from_now(-100), **changes})


async def test_clocks_may_differ_a_little() -> None:
    assert await verified(token(aged(exp=seconds_from_now(-2))))
    assert await verified(token(claims(iat=seconds_from_now(3), nbf=seconds_from_now(3))))


async def test_the_longest_life_is_a_setting() -> None:
    assert await verified(token(claims(exp=seconds_from_now(3_590))))
    assert await verified(token(claims(exp=seconds_from_now(80_000))), CLERK_TOKEN_LIFETIME="86400")
    with pytest.raises(InvalidToken):
        await verified(token(claims(exp=seconds_from_now(90))), CLERK_TOKEN_LIFETIME="60")


# Any JSON of any size: with duplicate names, deep, and with numbers that no float holds.
ABSURD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=50),
    st.sampled_from(["9" * 5_000, "\ud800", "x" * 7_000, "1e999", "\x00"]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=20,
    ),
    st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)
NAMES = sorted({*claims(), "act", "fea", "o.id", "o.rol", "o.slg", "o.per", "o.fpm"})


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), ABSURD, min_size=1, max_size=3), st.booleans())
def test_no_claim_breaks_the_reading_of_a_token(changes: dict[str, object], is_doubled: bool) -> None:
    said = claims()
    for name, value in changes.items():
        place, _, part = name.partition(".")
        said[place] = {**said.get("o", {}), part: value} if part and isinstance(said.get("o"), dict) else value
    text = json.dumps(said)
    if is_doubled:
        text = text[:-1] + ', "exp": 1}'
    with suppress(InvalidToken):
        asyncio.run(verified(signed(written(header()), b64(text.encode()))))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cat", "crit"]), ABSURD, max_size=3))
def test_no_header_breaks_the_reading_of_a_token(changes: dict[str, object]) -> None:
    with suppress(InvalidToken):
        asyncio.run(verified(token(header_={**header(), **changes})))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={name: ABSURD | st.just("AQAB") for name in ("kty", "use", "kid", "alg", "e", "n")}
        )
    )
    | ABSURD
)
def test_no_set_of_keys_breaks_the_reading_of_it(found: object) -> None:
    assert parse_keys(json.dumps({"keys": found}).encode()) == {}


def test_a_key_too_large_to_be_used_at_every_call_is_left_out() -> None:
    good = {**STRANGERS_JWK, "kid": "ins_1"}
    large = {**good, "n": b64((2**16_384 - 1).to_bytes(2_048, "big"))}
    slow = {**good, "e": b64((2**2_000 + 1).to_bytes(251, "big"))}
    assert parse_keys(json.dumps({"keys": [large, slow]}).encode()) == {}
    assert list(parse_keys(json.dumps({"keys": [good, large]}).encode())) == ["ins_1"]


async def test_the_leeway_is_a_setting() -> None:
    text = token(aged(exp=seconds_from_now(-20)))
    assert await verified(text, CLERK_CLOCK_LEEWAY="30")
    with pytest.raises(InvalidToken):
        await verified(token(aged(exp=seconds_from_now(-2))), CLERK_CLOCK_LEEWAY="0")


def test_the_cookie_of_this_instance_is_preferred() -> None:
    key = "pk_test_Y2xlYW4tbWF5Zmx5LTYyLmNsZXJrLmFjY291bnRzLmRldiQ"
    found = verifier(NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY=key).cookies
    assert list(found) == ["__session_kgUPyBNU", "__session"]


def test_base64_of_a_forgery_is_what_it_says() -> None:
    # The table's tricks are worth nothing if Python's decoder did not fall for them.
    good = token().split(".")[2]
    tricked = good[:9] + "!" + good[9:]
    assert base64.urlsafe_b64decode(tricked + "==") == base64.urlsafe_b64decode(good + "==")
