"""The types of settings: quiet hours, networks, days, encryption keys, providers' keys, and manifests.

A manifest is a JSON file of the operations that our own frontends were built with.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import time
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretBytes

from core.quiet_hours import QuietHours
from core.settings.variables import Problem, WrongValue

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def parse_quiet_hours(text: object) -> object:
    """Read two times of day out of their text; raises WrongValue."""
    if not isinstance(text, str):
        return text
    if (found := _HOURS.fullmatch(text.strip())) is None:
        raise WrongValue("must be two times of day, like 21:00-08:00")
    start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if start == end:
        raise WrongValue("begins and ends at the same time: a day has no quiet hours then, or nothing else")
    return QuietHours(start, end)


Network = IPv4Network | IPv6Network


def parse_networks(text: object) -> object:
    """Read networks out of their text; raises WrongValue saying what is wrong."""
    if not isinstance(text, str):
        return text
    try:
        networks = tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError:
        raise WrongValue("must be addresses or networks like 10.0.0.0/8, several separated by commas") from None
    if any(network.prefixlen == 0 for network in networks):
        raise WrongValue("trusts every address: name only the proxies, or any client can claim any address")
    return networks


# Not shorter: events that are sent again, and messages in delivery, need what is kept.
DAYS = "days, from 7 to 36500; 0 keeps it for good"
_FEWEST, _MOST = 7, 36_500


def check_days(days: int) -> int:
    """Accept a retention in days; raises WrongValue."""
    if days != 0 and not _FEWEST <= days <= _MOST:
        raise WrongValue(f"must be {DAYS}")
    return days


Days = Annotated[int, AfterValidator(check_days)]


_KEY = "must be id:base64 of 32 bytes, several separated by commas"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key, and its id in sealed values."""

    id: str
    secret: SecretBytes


def parse_encryption_keys(text: object) -> object:
    """Read the keys out of their text; raises WrongValue saying what is wrong, without the text."""
    if not isinstance(text, str):
        return text
    keys = tuple(_parse_key(part.strip()) for part in text.split(","))
    if len({key.id for key in keys}) < len(keys):
        raise WrongValue("names two keys alike: give each an id of its own")
    return keys


def _parse_key(text: str) -> EncryptionKey:
    name, _, encoded = text.partition(":")
    if not re.fullmatch("[a-z0-9]{1,16}", name):
        raise WrongValue(f"{_KEY}; an id is 1 to 16 lower-case letters and digits")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise WrongValue(f"{_KEY}; the part after the colon is not base64") from None
    if len(secret) != 32:
        raise WrongValue(f"{_KEY}; a key here has {len(secret)}")
    return EncryptionKey(name, SecretBytes(secret))


# Prefixes by which several providers mark keys as secret, and as test or live.
_SECRET = re.compile(r"(sk|rk)_(test|live)_|whsec_")
_WITH_MODE = re.compile(r"(?:sk|rk|pk)_(test|live)_")


def holds_secret_key(text: str) -> bool:
    """Say whether a text is a secret key."""
    return bool(_SECRET.match(text))


def check_publishable_key(text: str) -> str:
    """Accept a publishable key; raises WrongValue for any other, such as a secret one."""
    if holds_secret_key(text):
        raise WrongValue(
            "holds a secret key, and browsers see this variable: put the key that begins with pk_ here, "
            "and replace the secret one in the provider's console"
        )
    if not re.fullmatch(r"pk_(test|live)_[A-Za-z0-9+/=_-]+", text):
        raise WrongValue("is not a publishable key: it begins with pk_test_ or pk_live_")
    return text


def mode_problems(given: Mapping[str, str], *names: str) -> Iterator[Problem]:
    """Yield a live key outside production, and keys of both modes side by side."""
    modes = {name: match[1] for name in names if (match := _WITH_MODE.match(given.get(name, "")))}
    if given["APP_ENV"] != "production":
        for name, mode in modes.items():
            if mode == "live":
                yield Problem(name, "is a live key, and APP_ENV is not production: use test keys here")
    if len(set(modes.values())) > 1:
        first, *others = modes
        yield Problem(first, f"is a {modes[first]} key, {' or '.join(others)} is not: take both from the same mode")


def together(given: Mapping[str, str], *names: str) -> Iterator[Problem]:
    """Yield each of `names` that is missing while another is set."""
    there = [name for name in names if name in given]
    for name in names:
        if there and name not in given:
            yield Problem(name, f"is missing: {there[0]} is set, and is of no use without it", missing=True)


class TrustMode(StrEnum):
    """What happens to a document that is not in the manifest: it runs, it runs and is logged, or it is refused."""

    OFF = "off"
    LOG = "log"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Documents by the SHA-256 of their text, in lower-case hexadecimals."""

    documents: Mapping[str, str] = field(default_factory=dict, repr=False)


def digest(document: str) -> str:
    """The SHA-256 of a document's text, by which manifests and persisted queries name it."""
    # A lone surrogate cannot be encoded and never parses, but a client can send it.
    return hashlib.sha256(document.encode(errors="surrogatepass")).hexdigest()


def read_manifest(path: object) -> object:
    """Read the file of that name; raises WrongValue saying what is wrong with it."""
    if not isinstance(path, str):
        return path
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WrongValue("names no JSON file that can be read: give its full path") from None
    if not isinstance(data, dict) or not all(isinstance(text, str) for text in data.values()):
        raise WrongValue('names a file of another form: it must hold {"sha256 of a document": "the document"}')
    # The GraphQL over HTTP draft and graphql-codegen write the algorithm in front.
    documents = {str(name).lower().removeprefix("sha256:"): text for name, text in data.items()}
    wrong = [name for name, text in documents.items() if name != digest(text)]
    if wrong:
        raise WrongValue(
            f"names a file with {len(wrong)} of {len(documents)} names that are not their document's SHA-256 "
            f"({wrong[0][:16]}…): make it with sha256, which is not the default of every compiler"
        )
    return Manifest(documents)
