"""The whole configuration, the house's and every integration's, read at once with everything that is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from api.setting_names import known_names, misspelled
from core.ports import Integration, Mode
from core.settings import CoreSettings, IntegrationSettings, Problem, State, describe, load
from core.settings.addresses import is_loopback, is_pooled
from core.settings.postgres_url import read_postgres_url
from core.settings.redis_url import read_redis_url
from core.settings.values import holds_secret_key
from integrations.registry import all_integrations

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

    `core` is None when the house's own settings are wrong.
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
        # Sorting is stable: the house before the integrations, the wrong before the missing.
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
        who = ", ".join(live) or "companies"
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
