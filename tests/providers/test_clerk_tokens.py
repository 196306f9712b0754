"""Clerk's sessions: those it signed are believed and read, and a table of forgeries is refused, each for its reason."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Unauthenticated
from core.ports import Identity, InvalidToken, Tenancy, TokenFault
from integrations.clerk.adapter import ClerkSessions
from integrations.clerk.jwks import KeySet, parse_keys
from integrations.clerk.session_tokens import MAX_TOKEN_LENGTH
from integrations.http_client import HttpClient
from tests.providers.clerk_tokens import (
    GONE,
    KEY,
    PAGE,
    PUBLIC_PEM,
    STRANGERS_KEY,
    b64,
    claims,
    header,
    private_pem,
    signed,
    token,
    written,
)
from tests.providers.conftest import clerk_settings


@cache
def verifier(**changes: str) -> ClerkSessions:
    """Verifies with the public key alone: a call to anybody would fail here."""
    parties = {"CLERK_AUTHORIZED_PARTIES": PAGE, "CLERK_JWT_KEY": PUBLIC_PEM}
    settings = clerk_settings(**parties | changes)
    return ClerkSessions(settings, KeySet(HttpClient("clerk"), settings.jwks_url))


async def believed(text: str, **changes: str) -> Identity:
    return await verifier(**changes).verify(text)


async def test_a_session_is_believed_and_read() -> None:
    said = claims()
    identity = await believed(token(said))
    assert identity.subject == "user_2abcUSER0001"
    assert identity.session_id == "sess_2abc"
    assert identity.party == PAGE
    assert identity.expires_at.timestamp() == said["exp"]
    assert identity.issued_at.timestamp() == said["iat"]
    assert identity.organization is not None
    assert (identity.organization.id, identity.organization.slug) == ("org_2abcACME", "acme")
    assert identity.organization.role == "org:admin"
    assert (identity.tenancy, identity.actor) == (Tenancy.ORGANIZATION, None)


async def test_another_library_signs_what_is_believed() -> None:
    text = jwt.encode(claims(), private_pem(KEY), algorithm="RS256", headers=header())
    assert (await believed(text)).subject == "user_2abcUSER0001"


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
async def test_what_clerk_may_leave_out_or_add_does_no_harm(change: dict[str, object]) -> None:
    assert (await believed(token(claims(**change)))).subject == "user_2abcUSER0001"


async def test_without_a_category_it_is_a_session_all_the_same() -> None:
    assert await believed(token(header_=header(cat=GONE, typ=GONE)))


async def test_whoever_acts_for_somebody_else_is_named() -> None:
    assert (await believed(token(claims(act={"sub": "user_support"})))).actor == "user_support"


def now(seconds: float) -> float:
    return time.time() + seconds


def swapped(text: str, part: int, put: Callable[[str], str]) -> str:
    """A token with one of its parts replaced, its signature left as it was."""
    parts = text.split(".")
    parts[part] = put(parts[part])
    return ".".join(parts)


def spelled(**numbers: str) -> str:
    """The claims with numbers written as no library of ours would write them."""
    usual = claims()
    text = json.dumps({name: value for name, value in usual.items() if name not in numbers})
    return b64((text[:-1] + "".join(f', "{name}": {number}' for name, number in numbers.items()) + "}").encode())


def hs256(**changes: object) -> str:
    """Signed with our public key as the secret, which everybody knows."""
    head, body = written(header(alg="HS256", **changes)), written(claims())
    return (
        f"{head}.{body}.{b64(jwt.get_algorithm_by_name('HS256').sign(f'{head}.{body}'.encode(), PUBLIC_PEM.encode()))}"
    )


JWK = {"kty": "RSA", "n": b64(STRANGERS_KEY.public_key().public_numbers().n.to_bytes(256, "big")), "e": "AQAB"}
FORGED: dict[str, tuple[Callable[[], str], TokenFault]] = {
    # ─── the algorithm ───
    "alg none": (lambda: f"{written(header(alg='none'))}.{written(claims())}.", TokenFault.ALGORITHM),
    "alg None, with a signature": (lambda: token(header_=header(alg="None")), TokenFault.ALGORITHM),
    "alg missing": (lambda: token(header_=header(alg=GONE)), TokenFault.ALGORITHM),
    "alg null": (lambda: token(header_=header(alg=None)), TokenFault.ALGORITHM),
    "alg a list": (lambda: token(header_=header(alg=["RS256"])), TokenFault.ALGORITHM),
    "alg in small letters": (lambda: token(header_=header(alg="rs256")), TokenFault.ALGORITHM),
    "alg with a space": (lambda: token(header_=header(alg="RS256 ")), TokenFault.ALGORITHM),
    "RS512 of our key": (lambda: token(header_=header(alg="RS512")), TokenFault.ALGORITHM),
    "PS256": (lambda: token(header_=header(alg="PS256")), TokenFault.ALGORITHM),
    "ES256": (lambda: token(header_=header(alg="ES256")), TokenFault.ALGORITHM),
    "HS256 with the public key": (hs256, TokenFault.ALGORITHM),
    # ─── the key ───
    "a stranger's key": (lambda: token(key=STRANGERS_KEY), TokenFault.SIGNATURE),
    "a key in the header": (lambda: token(header_=header(jwk=JWK), key=STRANGERS_KEY), TokenFault.HEADER),
    "an address of keys": (lambda: token(header_=header(jku="https://evil.example/k")), TokenFault.HEADER),
    "an address of certificates": (lambda: token(header_=header(x5u="https://evil.example/c")), TokenFault.HEADER),
    "a certificate": (lambda: token(header_=header(x5c=["MIIB"])), TokenFault.HEADER),
    "crit": (lambda: token(header_=header(crit=["exp"])), TokenFault.HEADER),
    "crit empty": (lambda: token(header_=header(crit=[])), TokenFault.HEADER),
    "b64 false": (lambda: token(header_=header(b64=False)), TokenFault.HEADER),
    "compressed": (lambda: token(header_=header(zip="DEF")), TokenFault.HEADER),
    "encrypted": (lambda: token(header_=header(enc="A256GCM")), TokenFault.HEADER),
    "kid a path": (lambda: token(header_=header(kid="../../dev/null")), TokenFault.HEADER),
    "kid SQL": (lambda: token(header_=header(kid="x' UNION SELECT 'k")), TokenFault.HEADER),
    "kid a number": (lambda: token(header_=header(kid=1)), TokenFault.HEADER),
    # ─── the signature ───
    "no signature": (lambda: swapped(token(), 2, lambda _: ""), TokenFault.MALFORMED),
    "signature of another body": (
        lambda: swapped(token(), 1, lambda _: written(claims(sub="user_somebodyElse"))),
        TokenFault.SIGNATURE,
    ),
    "signature of another header": (
        lambda: swapped(token(), 0, lambda _: written(header(kid="x"))),
        TokenFault.SIGNATURE,
    ),
    "signature cut short": (lambda: swapped(token(), 2, lambda _: b64(bytes(253))), TokenFault.SIGNATURE),
    "signature all zero": (lambda: swapped(token(), 2, lambda _: b64(bytes(256))), TokenFault.SIGNATURE),
    "signature too long": (lambda: swapped(token(), 2, lambda part: part + "AAAA"), TokenFault.SIGNATURE),
    # ─── spelling ───
    "empty": (lambda: "", TokenFault.MALFORMED),
    "a word": (lambda: "nonsense", TokenFault.MALFORMED),
    "dots alone": (lambda: "..", TokenFault.MALFORMED),
    "two parts": (lambda: token().rpartition(".")[0], TokenFault.MALFORMED),
    "four parts": (lambda: token() + ".AAAA", TokenFault.MALFORMED),
    "five parts, encrypted": (lambda: f"{token()}.AAAA.AAAA", TokenFault.MALFORMED),
    "a dot at the end": (lambda: token() + ".", TokenFault.MALFORMED),
    "padding": (lambda: swapped(token(), 2, lambda part: part + "=="), TokenFault.MALFORMED),
    "the other base64": (lambda: swapped(token(), 1, lambda _: "+/+/" + written(claims())), TokenFault.MALFORMED),
    "a line break": (lambda: swapped(token(), 2, lambda part: part[:9] + "\n" + part[9:]), TokenFault.MALFORMED),
    "letters a decoder overlooks": (
        lambda: swapped(token(), 2, lambda part: part[:9] + "!" + part[9:]),
        TokenFault.MALFORMED,
    ),
    "spare bits set": (
        lambda: swapped(token(), 2, lambda part: part[:-1] + _next_letter(part[-1])),
        TokenFault.MALFORMED,
    ),
    "full-width letters": (lambda: swapped(token(), 0, lambda part: "\uff45" + part[1:]), TokenFault.MALFORMED),
    "NUL at the end": (lambda: token() + "\0", TokenFault.MALFORMED),
    "huge": (lambda: token(claims(more="x" * MAX_TOKEN_LENGTH)), TokenFault.TOO_LARGE),
    "ten million dots": (lambda: "." * 10_000_000, TokenFault.TOO_LARGE),
    # ─── not what it seems ───
    "a header that is a list": (lambda: signed(written(["RS256"]), written(claims())), TokenFault.MALFORMED),
    "claims that are a text": (lambda: signed(written(header()), written("claims")), TokenFault.MALFORMED),
    "claims that are no JSON": (lambda: signed(written(header()), b64(b"{'sub': 1}")), TokenFault.MALFORMED),
    "claims that are not UTF-8": (lambda: signed(written(header()), b64(b'{"sub":"\xff"}')), TokenFault.MALFORMED),
    "nested without end": (lambda: signed(written(header()), b64(b"[" * 5_000)), TokenFault.MALFORMED),
    "alg twice in the header": (
        lambda: signed(b64(b'{"alg":"none","alg":"RS256","typ":"JWT"}'), written(claims())),
        TokenFault.MALFORMED,
    ),
    "sub twice in the claims": (
        lambda: signed(written(header()), b64(b'{"sub":"user_a","sub":"user_b"}')),
        TokenFault.MALFORMED,
    ),
    "exp NaN": (lambda: token(claims(exp=float("nan"))), TokenFault.MALFORMED),
    "exp infinite": (lambda: token(claims(exp=float("inf"))), TokenFault.MALFORMED),
    # ─── other kinds of token ───
    "an OAuth access token": (lambda: token(header_=header(typ="at+jwt", cat=GONE)), TokenFault.NOT_A_SESSION),
    "typ a number": (lambda: token(header_=header(typ=1)), TokenFault.NOT_A_SESSION),
    "a template's, by its category": (lambda: token(header_=header(cat="cl_B7d4PD222AAA")), TokenFault.NOT_A_SESSION),
    "a template's, without a session": (
        lambda: token(claims(sid=GONE), header(cat=GONE)),
        TokenFault.MISSING_CLAIM,
    ),
    "a machine's, by its category": (lambda: token(header_=header(cat="cl_B7d4PD333AAA")), TokenFault.NOT_A_SESSION),
    "a machine's, by its subject": (lambda: token(claims(sub="mch_2abc")), TokenFault.NOT_A_SESSION),
    "an opaque machine token": (lambda: "mt_0123456789abcdef", TokenFault.MALFORMED),
    "an API key of Clerk's": (lambda: "ak_0123456789abcdef", TokenFault.MALFORMED),
    "an organisation as the subject": (lambda: token(claims(sub="org_2abcACME")), TokenFault.NOT_A_SESSION),
    "a session id that is none": (lambda: token(claims(sid="tmpl_1")), TokenFault.NOT_A_SESSION),
    "version 1": (lambda: token(claims(v=GONE, o=GONE, org_id="org_1", org_role="org:admin")), TokenFault.VERSION),
    "version true": (lambda: token(claims(v=True)), TokenFault.VERSION),
    "version 3": (lambda: token(claims(v=3)), TokenFault.VERSION),
    # ─── the claims ───
    **{
        f"no {name}": ((lambda name=name: token(claims(**{name: GONE}))), TokenFault.MISSING_CLAIM)
        for name in ("exp", "iat", "nbf", "iss", "sub", "sid")
    },
    "exp null": (lambda: token(claims(exp=None)), TokenFault.MISSING_CLAIM),
    "expired": (lambda: token(claims(exp=now(-60))), TokenFault.EXPIRED),
    "expired beyond the leeway": (lambda: token(claims(exp=now(-6))), TokenFault.EXPIRED),
    "exp a text": (lambda: token(claims(exp="9999999999")), TokenFault.BAD_CLAIM),
    "exp true": (lambda: token(claims(exp=True)), TokenFault.BAD_CLAIM),
    "exp after the end of the calendar": (lambda: token(claims(exp=10**15)), TokenFault.BAD_CLAIM),
    "exp of 401 digits": (lambda: signed(written(header()), spelled(exp="1" + "0" * 400)), TokenFault.BAD_CLAIM),
    "exp of five thousand digits": (lambda: signed(written(header()), spelled(exp="9" * 5_000)), TokenFault.MALFORMED),
    "exp beyond every float": (lambda: signed(written(header()), spelled(exp="1e999")), TokenFault.BAD_CLAIM),
    "iat of 401 digits": (lambda: signed(written(header()), spelled(iat="1" + "0" * 400)), TokenFault.BAD_CLAIM),
    "nbf below every float": (lambda: signed(written(header()), spelled(nbf="-1e999")), TokenFault.BAD_CLAIM),
    "exp before it was issued": (lambda: token(claims(exp=now(1), iat=now(2), nbf=now(0))), TokenFault.BAD_CLAIM),
    "exp before it begins": (lambda: token(claims(exp=now(1), iat=now(0), nbf=now(2))), TokenFault.BAD_CLAIM),
    "exp in the year 9999": (lambda: token(claims(exp=253_402_300_799)), TokenFault.TOO_LONG),
    "a life longer than the cap": (lambda: token(claims(exp=now(3_700))), TokenFault.TOO_LONG),
    "issued in 1970": (lambda: token(claims(iat=0)), TokenFault.TOO_LONG),
    "begun in 1970": (lambda: token(claims(nbf=0)), TokenFault.TOO_LONG),
    "v a float": (lambda: signed(written(header()), spelled(v="2.0")), TokenFault.VERSION),
    "exp before 1970": (lambda: token(claims(exp=-1)), TokenFault.BAD_CLAIM),
    "iat in the future": (lambda: token(claims(iat=now(60))), TokenFault.NOT_YET),
    "nbf in the future": (lambda: token(claims(nbf=now(60))), TokenFault.NOT_YET),
    "another issuer": (lambda: token(claims(iss="https://clerk.evil.example")), TokenFault.ISSUER),
    "the issuer with a slash": (lambda: token(claims(iss="https://clerk.example.com/")), TokenFault.ISSUER),
    "a list of issuers": (lambda: token(claims(iss=["https://clerk.example.com"])), TokenFault.ISSUER),
    "a page of somebody else": (lambda: token(claims(azp="https://evil.example.com")), TokenFault.PARTY),
    "a page with a slash": (lambda: token(claims(azp=PAGE + "/")), TokenFault.PARTY),
    "a page that begins like ours": (lambda: token(claims(azp=PAGE + ".evil.example")), TokenFault.PARTY),
    "a list of pages": (lambda: token(claims(azp=[PAGE])), TokenFault.PARTY),
    "signing in is not finished": (lambda: token(claims(sts="pending")), TokenFault.PENDING),
    "sts unknown": (lambda: token(claims(sts="dreaming")), TokenFault.PENDING),
    "sts true": (lambda: token(claims(sts=True)), TokenFault.PENDING),
    "an organisation that is a text": (lambda: token(claims(o="org_2abcACME")), TokenFault.BAD_CLAIM),
    "an organisation that is null": (lambda: token(claims(o=None)), TokenFault.BAD_CLAIM),
    "an organisation without an id": (lambda: token(claims(o={"rol": "admin"})), TokenFault.BAD_CLAIM),
    "an organisation without a role": (lambda: token(claims(o={"id": "org_1"})), TokenFault.BAD_CLAIM),
    "a person as the organisation": (lambda: token(claims(o={"id": "user_1", "rol": "admin"})), TokenFault.BAD_CLAIM),
    "a role of two words": (lambda: token(claims(o={"id": "org_1", "rol": "a admin"})), TokenFault.BAD_CLAIM),
    "acting for somebody in no known way": (lambda: token(claims(act="user_support")), TokenFault.BAD_CLAIM),
}


def _next_letter(letter: str) -> str:
    """A letter whose spare bits differ: 256 bytes leave four of them in the last letter."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) + 1]


def test_the_table_is_long_enough() -> None:
    assert len(FORGED) >= 40


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forgery_is_refused_for_its_reason_and_shown_nowhere(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    make, reason = FORGED[kind]
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
    assert (await believed(text, CLERK_AUTHORIZED_PARTIES="")).party == "http://localhost:3000"


def aged(**changes: object) -> dict[str, object]:
    """What a session said a minute ago."""
    return claims(**{"iat": now(-90), "nbf": now(-100), **changes})


async def test_clocks_may_differ_a_little() -> None:
    assert await believed(token(aged(exp=now(-2))))
    assert await believed(token(claims(iat=now(3), nbf=now(3))))


async def test_the_longest_life_is_a_setting() -> None:
    assert await believed(token(claims(exp=now(3_590))))
    assert await believed(token(claims(exp=now(80_000))), CLERK_TOKEN_LIFETIME="86400")
    with pytest.raises(InvalidToken):
        await believed(token(claims(exp=now(90))), CLERK_TOKEN_LIFETIME="60")


# Whatever JSON can say, of whatever size: with duplicates of names, deep, and with numbers that no float holds.
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
        asyncio.run(believed(signed(written(header()), b64(text.encode()))))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cat", "crit"]), ABSURD, max_size=3))
def test_no_header_breaks_the_reading_of_a_token(changes: dict[str, object]) -> None:
    with suppress(InvalidToken):
        asyncio.run(believed(token(header_={**header(), **changes})))


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
    good = {**JWK, "kid": "ins_1"}
    large = {**good, "n": b64((2**16_384 - 1).to_bytes(2_048, "big"))}
    slow = {**good, "e": b64((2**2_000 + 1).to_bytes(251, "big"))}
    assert parse_keys(json.dumps({"keys": [large, slow]}).encode()) == {}
    assert list(parse_keys(json.dumps({"keys": [good, large]}).encode())) == ["ins_1"]


async def test_the_leeway_is_a_setting() -> None:
    text = token(aged(exp=now(-20)))
    assert await believed(text, CLERK_CLOCK_LEEWAY="30")
    with pytest.raises(InvalidToken):
        await believed(token(aged(exp=now(-2))), CLERK_CLOCK_LEEWAY="0")


def test_the_cookie_of_this_instance_is_preferred() -> None:
    key = "pk_test_Y2xlYW4tbWF5Zmx5LTYyLmNsZXJrLmFjY291bnRzLmRldiQ"
    found = verifier(NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY=key).cookies
    assert list(found) == ["__session_kgUPyBNU", "__session"]


def test_base64_of_a_forgery_is_what_it_says() -> None:
    # The table's tricks are worth nothing if Python's decoder did not fall for them.
    good = token().split(".")[2]
    tricked = good[:9] + "!" + good[9:]
    assert base64.urlsafe_b64decode(tricked + "==") == base64.urlsafe_b64decode(good + "==")
