"""The whole configuration: the core's settings and every integration's, read and checked together."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from core.ports import Channel, Integration, Mode
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

    @property
    def is_configured(self) -> bool:
        """Whether it can be called and some of its settings are there; until all are right, nothing starts."""
        return self.card.connect is not None and self.state is not State.ABSENT

    @property
    def needed(self) -> Sequence[str]:
        """The names of the settings without which it cannot be called."""
        return [variable.name for variable in describe(self.card.settings) if variable.required]

    @property
    def has_simulator(self) -> bool:
        """Whether `interalpha dev` can simulate its provider."""
        return self.card.connect is not None and find_spec(f"integrations.{self.card.name}.simulator") is not None


@dataclass(frozen=True, slots=True)
class Carrier:
    """The integration that carries a channel, configured or not; `candidates` are all that could.

    `is_chosen` where a setting names it.
    """

    integration: IntegrationConfiguration
    candidates: Sequence[IntegrationConfiguration]
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """What an installation was told; with `problems` (worst first) nothing may start, `warnings` only deserve a look.

    `core` is None when the core's settings are wrong.
    """

    core: CoreSettings | None
    integrations: Mapping[str, IntegrationConfiguration]
    problems: Sequence[Problem]
    warnings: Sequence[Problem]

    @property
    def carriers(self) -> Mapping[Channel, Carrier]:
        """The integration that carries each channel; a channel that no folder offers is left out."""
        return _carriers(self.core.via if self.core else {}, self.integrations)


def load_configuration(environment: Mapping[str, str], *, simulates: bool = False) -> Configuration:
    """Read and check every setting, without a network.

    With `simulates`, a channel may be given to an integration that is not configured and has a simulator.
    """
    core = load(CoreSettings, environment)
    integrations = {name: _load_integration(card, environment) for name, card in all_integrations().items()}
    found = [*core.problems, *_exposed_secrets(environment)]
    for integration in integrations.values():
        found += integration.problems if integration.card.connect is not None else ()
    if core.value is not None:
        found += _undecided(core.value.via, integrations, simulates=simulates)
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


# Which integration carries each channel.


def _carriers(
    via: Mapping[str, str], integrations: Mapping[str, IntegrationConfiguration]
) -> Mapping[Channel, Carrier]:
    offers = {channel: _candidates(channel, integrations) for channel in Channel}
    return {channel: _carrier(via.get(channel), some) for channel, some in offers.items() if some}


def _candidates(
    channel: Channel, integrations: Mapping[str, IntegrationConfiguration]
) -> Sequence[IntegrationConfiguration]:
    """Those that can be called; where there are none, those of which only the settings exist."""
    offers = [one for one in integrations.values() if channel in one.card.channels]
    return [one for one in offers if one.card.connect is not None] or offers


def _carrier(named: str | None, candidates: Sequence[IntegrationConfiguration]) -> Carrier:
    """The one that a setting names, else one that is configured, else one that can be simulated."""
    for one in candidates:
        if one.card.name == named:
            return Carrier(one, candidates, is_chosen=True)
    best = min(candidates, key=lambda one: (not one.is_configured, one.settings is None, not one.has_simulator))
    return Carrier(best, candidates)


def _undecided(
    via: Mapping[str, str], integrations: Mapping[str, IntegrationConfiguration], *, simulates: bool
) -> Iterator[Problem]:
    """Yield the channels for which several integrations are configured and none is chosen, and choices that fail."""
    for channel in Channel:
        usable = {one.card.name: one for one in _candidates(channel, integrations) if one.card.connect is not None}
        configured = [name for name, one in usable.items() if one.is_configured]
        setting, named = f"{channel}_VIA", via.get(channel)
        if named is None:
            if len(configured) > 1:
                both, fix = " and ".join(configured), " or ".join(f"{setting}={name}" for name in configured)
                message = f"is missing: {both} are configured for {channel}, and one must carry it: set {fix}"
                yield Problem(setting, message, missing=True)
        elif named not in usable:
            what = f"a provider that does not carry {channel}" if named in integrations else "no known provider"
            fix = f"set it to {' or '.join(usable)}" if usable else "unset it: this version has none for the channel"
            yield Problem(setting, f"names {what}: {fix}")
        elif not usable[named].is_configured and not (simulates and usable[named].has_simulator):
            others = f"set {setting} to {' or '.join(configured)}" if configured else f"unset {setting}"
            needed = ", ".join(usable[named].needed) or "its settings"
            yield Problem(setting, f"names {named}, which is not configured: set {needed}, or {others}")


def to_simulate(configuration: Configuration) -> Sequence[str]:
    """Name the integrations that are not configured and have a simulator, unless another carries their channels."""
    carriers = configuration.carriers
    return [
        name
        for name, one in configuration.integrations.items()
        if one.state is State.ABSENT and one.has_simulator and _is_wanted(one, carriers)
    ]


def _is_wanted(one: IntegrationConfiguration, carriers: Mapping[Channel, Carrier]) -> bool:
    """Whether it has a channel to carry, or none at all; and no channel would have two that nothing chooses between."""
    mine = [carriers[channel] for channel in one.card.channels]
    is_clear = all(carrier.integration is one or carrier.is_chosen for carrier in mine)
    return is_clear and (not mine or any(carrier.integration is one for carrier in mine))
