"""Tokens as Clerk makes them, and forged ones: PyJWT signs, the rest is written by hand."""

import base64
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from core.ports import Identity, TokenFault
from integrations.clerk.adapter import ClerkSessions
from integrations.clerk.jwks import KeySet
from integrations.clerk.session_tokens import MAX_TOKEN_LENGTH, SESSION_CATEGORY
from integrations.http_client import HttpClient
from tests.providers.factories import clerk_settings

ISSUER = "https://clerk.example.com"
PAGE = "https://app.example.com"
KEY = generate_private_key(public_exponent=65_537, key_size=2_048)
STRANGERS_KEY = generate_private_key(public_exponent=65_537, key_size=2_048)
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
_GONE = object()
GONE: Any = _GONE
"""Takes a claim or a field of the header away."""


def claims(**changes: Any) -> dict[str, Any]:
    """What a session of Ana's says, but for the changes."""
    now = int(time.time())
    usual = {
        "azp": PAGE,
        "exp": now + 60,
        "fva": [3, -1],
        "iat": now,
        "iss": ISSUER,
        "jti": "0f3c9a",
        "nbf": now - 10,
        "o": {"id": "org_2abcACME", "slg": "acme", "rol": "admin"},
        "sid": "sess_2abc",
        "sts": "active",
        "sub": "user_2abcUSER0001",
        "v": 2,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not _GONE}


def header(**changes: Any) -> dict[str, Any]:
    """The header of a session's token, but for the changes."""
    usual = {"alg": "RS256", "cat": SESSION_CATEGORY, "kid": "ins_ours", "typ": "JWT"}
    return {name: value for name, value in {**usual, **changes}.items() if value is not _GONE}


def token(
    claims_: dict[str, Any] | None = None, header_: dict[str, Any] | None = None, key: RSAPrivateKey = KEY
) -> str:
    """A token signed by another library, with any content."""
    return signed(written(header() if header_ is None else header_), written(claims_ or claims()), key)


def signed(head: str, body: str, key: RSAPrivateKey = KEY) -> str:
    """Two parts, and a signature that fits them as they are."""
    return f"{head}.{body}.{b64(jwt.get_algorithm_by_name('RS256').sign(f'{head}.{body}'.encode(), key))}"


def written(value: object) -> str:
    return b64(json.dumps(value).encode())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def private_pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@cache
def verifier(**changes: str) -> ClerkSessions:
    """Verifies with the public key alone: a call to anybody would fail here."""
    parties = {"CLERK_AUTHORIZED_PARTIES": PAGE, "CLERK_JWT_KEY": PUBLIC_PEM}
    settings = clerk_settings(**parties | changes)
    return ClerkSessions(settings, KeySet(HttpClient("clerk"), settings.jwks_url))


async def verified(text: str, **changes: str) -> Identity:
    return await verifier(**changes).verify(text)


def seconds_from_now(seconds: float) -> float:
    return time.time() + seconds


def with_part_replaced(text: str, part: int, put: Callable[[str], str]) -> str:
    """A token with one of its parts replaced, its signature left as it was."""
    parts = text.split(".")
    parts[part] = put(parts[part])
    return ".".join(parts)


def claims_with_numbers(**numbers: str) -> str:
    """The claims with numbers written as no library of ours would write them."""
    usual = claims()
    text = json.dumps({name: value for name, value in usual.items() if name not in numbers})
    return b64((text[:-1] + "".join(f', "{name}": {number}' for name, number in numbers.items()) + "}").encode())


def hs256(**changes: object) -> str:
    """Signed with our public key as the secret, which is public."""
    head, body = written(header(alg="HS256", **changes)), written(claims())
    return (
        f"{head}.{body}.{b64(jwt.get_algorithm_by_name('HS256').sign(f'{head}.{body}'.encode(), PUBLIC_PEM.encode()))}"
    )


STRANGERS_JWK = {
    "kty": "RSA",
    "n": b64(STRANGERS_KEY.public_key().public_numbers().n.to_bytes(256, "big")),
    "e": "AQAB",
}


FORGED_TOKENS: dict[str, tuple[Callable[[], str], TokenFault]] = {
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
    "a key in the header": (lambda: token(header_=header(jwk=STRANGERS_JWK), key=STRANGERS_KEY), TokenFault.HEADER),
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
    "no signature": (lambda: with_part_replaced(token(), 2, lambda _: ""), TokenFault.MALFORMED),
    "signature of another body": (
        lambda: with_part_replaced(token(), 1, lambda _: written(claims(sub="user_somebodyElse"))),
        TokenFault.SIGNATURE,
    ),
    "signature of another header": (
        lambda: with_part_replaced(token(), 0, lambda _: written(header(kid="x"))),
        TokenFault.SIGNATURE,
    ),
    "signature cut short": (lambda: with_part_replaced(token(), 2, lambda _: b64(bytes(253))), TokenFault.SIGNATURE),
    "signature all zero": (lambda: with_part_replaced(token(), 2, lambda _: b64(bytes(256))), TokenFault.SIGNATURE),
    "signature too long": (lambda: with_part_replaced(token(), 2, lambda part: part + "AAAA"), TokenFault.SIGNATURE),
    # ─── spelling ───
    "empty": (lambda: "", TokenFault.MALFORMED),
    "a word": (lambda: "nonsense", TokenFault.MALFORMED),
    "dots alone": (lambda: "..", TokenFault.MALFORMED),
    "two parts": (lambda: token().rpartition(".")[0], TokenFault.MALFORMED),
    "four parts": (lambda: token() + ".AAAA", TokenFault.MALFORMED),
    "five parts, encrypted": (lambda: f"{token()}.AAAA.AAAA", TokenFault.MALFORMED),
    "a dot at the end": (lambda: token() + ".", TokenFault.MALFORMED),
    "padding": (lambda: with_part_replaced(token(), 2, lambda part: part + "=="), TokenFault.MALFORMED),
    "the other base64": (
        lambda: with_part_replaced(token(), 1, lambda _: "+/+/" + written(claims())),
        TokenFault.MALFORMED,
    ),
    "a line break": (
        lambda: with_part_replaced(token(), 2, lambda part: part[:9] + "\n" + part[9:]),
        TokenFault.MALFORMED,
    ),
    "letters a decoder overlooks": (
        lambda: with_part_replaced(token(), 2, lambda part: part[:9] + "!" + part[9:]),
        TokenFault.MALFORMED,
    ),
    "spare bits set": (
        lambda: with_part_replaced(token(), 2, lambda part: part[:-1] + _next_letter(part[-1])),
        TokenFault.MALFORMED,
    ),
    "full-width letters": (
        lambda: with_part_replaced(token(), 0, lambda part: "\uff45" + part[1:]),
        TokenFault.MALFORMED,
    ),
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
    "expired": (lambda: token(claims(exp=seconds_from_now(-60))), TokenFault.EXPIRED),
    "expired beyond the leeway": (lambda: token(claims(exp=seconds_from_now(-6))), TokenFault.EXPIRED),
    "exp a text": (lambda: token(claims(exp="9999999999")), TokenFault.BAD_CLAIM),
    "exp true": (lambda: token(claims(exp=True)), TokenFault.BAD_CLAIM),
    "exp after the end of the calendar": (lambda: token(claims(exp=10**15)), TokenFault.BAD_CLAIM),
    "exp of 401 digits": (
        lambda: signed(written(header()), claims_with_numbers(exp="1" + "0" * 400)),
        TokenFault.BAD_CLAIM,
    ),
    "exp of five thousand digits": (
        lambda: signed(written(header()), claims_with_numbers(exp="9" * 5_000)),
        TokenFault.MALFORMED,
    ),
    "exp beyond every float": (
        lambda: signed(written(header()), claims_with_numbers(exp="1e999")),
        TokenFault.BAD_CLAIM,
    ),
    "iat of 401 digits": (
        lambda: signed(written(header()), claims_with_numbers(iat="1" + "0" * 400)),
        TokenFault.BAD_CLAIM,
    ),
    "nbf below every float": (
        lambda: signed(written(header()), claims_with_numbers(nbf="-1e999")),
        TokenFault.BAD_CLAIM,
    ),
    "exp before it was issued": (
        lambda: token(claims(exp=seconds_from_now(1), iat=seconds_from_now(2), nbf=seconds_from_now(0))),
        TokenFault.BAD_CLAIM,
    ),
    "exp before it begins": (
        lambda: token(claims(exp=seconds_from_now(1), iat=seconds_from_now(0), nbf=seconds_from_now(2))),
        TokenFault.BAD_CLAIM,
    ),
    "exp in the year 9999": (lambda: token(claims(exp=253_402_300_799)), TokenFault.TOO_LONG),
    "a life longer than the cap": (lambda: token(claims(exp=seconds_from_now(3_700))), TokenFault.TOO_LONG),
    "issued in 1970": (lambda: token(claims(iat=0)), TokenFault.TOO_LONG),
    "begun in 1970": (lambda: token(claims(nbf=0)), TokenFault.TOO_LONG),
    "v a float": (lambda: signed(written(header()), claims_with_numbers(v="2.0")), TokenFault.VERSION),
    "exp before 1970": (lambda: token(claims(exp=-1)), TokenFault.BAD_CLAIM),
    "iat in the future": (lambda: token(claims(iat=seconds_from_now(60))), TokenFault.NOT_YET),
    "nbf in the future": (lambda: token(claims(nbf=seconds_from_now(60))), TokenFault.NOT_YET),
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
