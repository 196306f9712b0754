"""The whole configuration: the core's settings and every integration's, read and checked together."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from core.ports import Integration, Mode
from core.settings import CoreSettings, IntegrationSettings, Problem, State, describe, load
from core.settings.addresses import is_loopback, is_pooled
from core.settings.postgres_url import read_postgres_url
from core.settings.redis_url import read_redis_url
from core.settings.values import holds_secret_key
from integrations.registry import all_integrations

OUR_PREFIX = "INTERALPHA_"
# What commands, the Makefile and the examples read; each is documented, and none is a setting of the server.
_OTHERS = ("PORT", "INTERALPHA_API_KEY", "INTERALPHA_API_KEY_FILE", "INTERALPHA_URL")
# Names that other programs give to variables of theirs, and that are close to one of ours.
_OF_OTHERS = frozenset({"DATABASE_USER", "LOGLEVEL"})
# What Kubernetes and Docker set for each service beside us, one called INTERALPHA or SMTP among them:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)")
_CLOSE, _FAINT = 0.88, 0.6
_MOST = 3


@cache
def known_names() -> frozenset[str]:
    """Every variable that something of ours reads, those that name a secret's file included."""
    groups = [describe(CoreSettings), *(describe(card.settings) for card in all_integrations().values())]
    variables = [variable for group in groups for variable in group]
    names = {name for variable in variables for name in (variable.name, *variable.aliases)}
    files = {f"{name}_FILE" for one in variables if one.secret for name in (one.name, *one.aliases)}
    return frozenset({*names, *files, *_OTHERS})


def misspelled(environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield variables that look like misspelled settings of ours."""
    known = known_names()
    for name in sorted(environment.keys() - known - _OF_OTHERS):
        if _is_service(name, environment[name]):
            continue
        if name != name.upper() and name.upper() in known:
            if "_" in name:
                yield Problem(name, f"is not read: names of settings are in capitals, {name.upper()}")
        elif name.endswith("_FILE") and name.removesuffix("_FILE") in known:
            plain = name.removesuffix("_FILE")
            yield Problem(name, f"is not read: {plain} is not a secret: set it to its value, not to a file's name")
        elif meant := _meant(name.upper(), known):
            yield Problem(name, f"is not a known setting: did you mean {' or '.join(meant)}?")
        elif name.startswith(OUR_PREFIX):
            *others, last = sorted(one for one in known if one.startswith(OUR_PREFIX))
            yield Problem(name, f"is not a known setting: those that begin so are {', '.join(others)} and {last}")


def _is_service(name: str, text: str) -> bool:
    return bool(_SERVICE.fullmatch(name)) or (name.endswith("_PORT") and re.match(r"\w+://", text) is not None)


def _meant(name: str, known: frozenset[str]) -> Sequence[str]:
    bare = name.removeprefix(OUR_PREFIX)
    if name.startswith(OUR_PREFIX):
        ours = {one.removeprefix(OUR_PREFIX): one for one in sorted(known) if one.startswith(OUR_PREFIX)}
        near = [ours[one] for one in difflib.get_close_matches(bare, ours, n=1, cutoff=_FAINT)]
        return [bare] if bare in known else near or _nearest(bare, known)
    return _nearest(name, known)


def _nearest(name: str, known: frozenset[str]) -> Sequence[str]:
    """Names that differ in a letter or two; of one provider also those of which it has only some words, or parts."""
    bare = _letters(name)
    if same := [one for one in sorted(known) if _letters(one) == bare or _is_swapped(_letters(one), bare)]:
        return same
    if "_" in name and (close := difflib.get_close_matches(name, sorted(known), n=1, cutoff=_CLOSE)):
        return close
    provider, _, rest = name.partition("_")
    if not rest or provider not in _providers():
        return []
    # The plain name stands for the one of its file, too.
    plain = [one for one in known if not one.endswith("_FILE") or name.endswith("_FILE")]
    found = [one for one in plain if one.startswith(f"{provider}_") and _has_words(one, rest)]
    return sorted(found, key=lambda one: (len(one), one))[:_MOST]


@cache
def _letters(name: str) -> str:
    """Leave out what separates words: SMTP-HOST and SMTPHOST are SMTP_HOST."""
    return re.sub(r"[^A-Z0-9]", "", name)


def _is_swapped(one: str, other: str) -> bool:
    """Whether two neighbouring letters changed places."""
    places = [place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]]
    if len(one) != len(other) or len(places) != 2 or places[1] != places[0] + 1:
        return False
    return one[places[0]] == other[places[1]] and one[places[1]] == other[places[0]]


@cache
def _providers() -> frozenset[str]:
    cards = all_integrations().values()
    return frozenset(one.name.partition("_")[0] for card in cards for one in describe(card.settings)) - {"NEXT"}


def _has_words(name: str, words: str) -> bool:
    """Whether the words stand in a name in this order, each perhaps cut short: USER in SMTP_USERNAME."""
    parts = iter(name.split("_")[1:])
    return all(len(word) > 2 and any(part.startswith(word) for part in parts) for word in words.split("_"))


# The whole configuration: core and integrations, with all errors at once.


_BROWSERS = "NEXT_PUBLIC_"


@dataclass(frozen=True, slots=True)
class IntegrationConfiguration:
    """How one integration is configured; `settings` is there when its state is COMPLETE."""

    card: Integration
    state: State
    settings: IntegrationSettings | None
    problems: Sequence[Problem]

    @property
    def mode(self) -> Mode | None:
        """Whether its calls are real; None while it is not configured."""
        if self.settings is None:
            return None
        if self.settings.is_simulated():
            return Mode.SIMULATED
        return Mode.SANDBOX if self.settings.is_sandbox() else Mode.LIVE


@dataclass(frozen=True, slots=True)
class Configuration:
    """What an installation was told; with `problems` (worst first) nothing may start, `warnings` only deserve a look.

    `core` is None when the core's settings are wrong.
    """

    core: CoreSettings | None
    integrations: Mapping[str, IntegrationConfiguration]
    problems: Sequence[Problem]
    warnings: Sequence[Problem]


def load_configuration(environment: Mapping[str, str]) -> Configuration:
    """Read and check every setting, without a network."""
    core = load(CoreSettings, environment)
    integrations = {name: _load_integration(card, environment) for name, card in all_integrations().items()}
    found = [*core.problems, *_exposed_secrets(environment)]
    for integration in integrations.values():
        found += integration.problems if integration.card.connect is not None else ()
    return Configuration(
        core=core.value,
        integrations=integrations,
        # Sorting is stable: the core before the integrations, the wrong before the missing.
        problems=tuple(sorted(found, key=lambda problem: problem.missing)),
        warnings=(
            *misspelled(environment),
            *_quoted(environment),
            *_unbuilt(integrations),
            *_doubts(core.value, integrations),
        ),
    )


def _load_integration(card: Integration, environment: Mapping[str, str]) -> IntegrationConfiguration:
    loaded = load(card.settings, environment)
    return IntegrationConfiguration(card, loaded.state, loaded.value, loaded.problems)


def _exposed_secrets(environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the secret keys in variables that every browser reads, and no provider's own check stops at."""
    cards = [card for card in all_integrations().values() if card.connect is not None]
    ours = {name for card in cards for v in describe(card.settings) for name in (v.name, *v.aliases)}
    for name in sorted(environment.keys() - ours):
        if name.startswith(_BROWSERS) and holds_secret_key(environment[name].strip()):
            yield Problem(name, "holds a secret key, and browsers see this variable: remove it and replace the key")


def _quoted(environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield values in quotation marks: files for `docker run --env-file` are read without taking them off."""
    for name in sorted(environment.keys() & known_names()):
        text = environment[name]
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            yield Problem(name, "begins and ends with quotation marks, which are read as part of it: take them off")


def _unbuilt(integrations: Mapping[str, IntegrationConfiguration]) -> Iterator[Problem]:
    """Yield that settings of a provider are there which nothing here speaks to yet, and what is wrong with them."""
    for name, one in integrations.items():
        if one.card.connect is None and one.state is not State.ABSENT:
            yield Problem(name, "is set, and this version does not support it yet: its settings have no effect")
            yield from one.problems


def _doubts(core: CoreSettings | None, integrations: Mapping[str, IntegrationConfiguration]) -> Iterator[Problem]:
    """Yield what is allowed and probably not meant."""
    if core is None:
        return
    if core.database_url and core.database_url_direct is None and is_pooled(core.database_url):
        yield Problem(
            "DATABASE_URL_DIRECT",
            "is missing, and DATABASE_URL leads to a pooler: "
            "migrations need the direct address, the same without -pooler",
        )
    yield from _unverified_stores(core)
    live = [
        name for name, one in integrations.items() if one.mode in (Mode.LIVE, Mode.SANDBOX) and one.card.has_webhooks
    ]
    if is_loopback(core.public_base_url) and (live or core.is_production):
        who = ", ".join(live) or "providers"
        message = f"is an address of this machine: {who} cannot reach it, so no report and no answer will ever come"
        yield Problem("PUBLIC_BASE_URL", message)
    if core.is_production:
        for name, integration in integrations.items():
            if integration.mode is Mode.SIMULATED:
                yield Problem(name, "is simulated, in production: its calls do not leave this machine")


def _unverified_stores(core: CoreSettings) -> Iterator[Problem]:
    """Yield the stores that production reaches by TLS without checking whose they are."""
    if not core.is_production:
        return
    urls = {
        "DATABASE_URL": core.database_url,
        "DATABASE_URL_WORKER": core.database_url_worker,
        "DATABASE_URL_DIRECT": core.database_url_direct,
    }
    for name, url in urls.items():
        if url is not None and read_postgres_url(url.get_secret_value()).is_unverified:
            fix = "write sslmode=verify-full with sslrootcert=system, or with the file of your own CA"
            yield Problem(name, f"encrypts and does not check the server's certificate: {fix}")
    if core.redis_url is not None and read_redis_url(core.redis_url.get_secret_value()).is_unverified:
        fix = "remove ssl_cert_reqs, and name your own CA with ssl_ca_certs"
        yield Problem("REDIS_URL", f"encrypts and does not check the server's certificate: {fix}")


def to_simulate(configuration: Configuration) -> Sequence[str]:
    """Name the integrations that are not configured and have a simulator."""
    return [
        name
        for name, one in configuration.integrations.items()
        if one.state is State.ABSENT
        and one.card.connect is not None
        and find_spec(f"integrations.{name}.simulator") is not None
    ]
