"""The composition root: settings to stores, integrations and services. Every process and the tests start here."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from api.configuration import Carrier, Configuration, IntegrationConfiguration
from api.i18n.catalogue import Catalogue
from api.nouns import Contributions, contributions
from api.queue import WakeUps
from core.access.api_key_lookup import ApiKeyVerifier
from core.access.sessions import DevelopmentTokens
from core.database import Database, make_engine
from core.errors import AppError, BrokenContribution
from core.live.change_feed import ChangeFeeds
from core.live.shared_values import SharedValues
from core.messages.accept import Outbox
from core.messages.claim import Timing
from core.messages.validation import ChannelService
from core.messages.worker import timing_of
from core.nouns import Installation
from core.operations.dashboard import DashboardReader
from core.operations.health import HealthReader, IntegrationView
from core.ports import Channel, Connected, IdentityVerifier, IntegrationContext, Mode
from core.privacy.retention import Retention
from core.providers.calls import CountedCalls
from core.providers.circuit import Circuits
from core.providers.ledger import Ledger
from core.pubsub import Hub, connect_redis
from core.sealing import Sealer
from core.settings import CoreSettings
from core.settings.core_settings import RouteSteps
from core.words import say
from resolvers.context import Services

log = structlog.get_logger(__name__)

_FLUSH_WITHIN = 2.0
"""Seconds that the last figures of the ledger may take when a process stops."""


class NotReady(Exception):
    """The configuration does not suffice to start; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class App:
    """Everything put together. `connected` holds the integrations at work, by name."""

    settings: CoreSettings
    database: Database
    redis: Redis
    hub: Hub
    sealer: Sealer
    wake_ups: WakeUps
    connected: Mapping[str, Connected]
    services: Services
    contributions: Contributions
    tokens: DevelopmentTokens | None
    timing: Timing

    @property
    def identities(self) -> IdentityVerifier | None:
        """Verifies the sessions of people who sign in; None where no provider does."""
        return next((one.identities for one in self.connected.values() if one.identities is not None), None)

    @property
    def retention(self) -> Retention:
        """How long each kind of personal data is kept."""
        return Retention.in_days(
            content=self.settings.retention_content_days,
            addresses=self.settings.retention_addresses_days,
            webhooks=self.settings.retention_webhooks_days,
        )

    @property
    def ledger(self) -> Ledger:
        """The calls of this process that are not in the table yet."""
        return self.services.installation.service(Ledger)

    async def _flush_ledger(self) -> None:
        try:
            async with asyncio.timeout(_FLUSH_WITHIN):
                await self.ledger.flush(self.database)
        except (AppError, TimeoutError) as error:
            log.warning("calls_not_counted", reason=str(error) or "the database does not answer")

    def open_redis(self) -> Redis:
        """Open connections of one's own, for what blocks."""
        return _open_redis(self.settings)

    async def close(self) -> None:
        """Write what is counted, and close every connection."""
        await self._flush_ledger()
        await self.services.key_ring.close()
        await self.wake_ups.close()
        for connected in self.connected.values():
            await connected.close()
        await self.redis.aclose()
        await self.database.close()


def build_app(configuration: Configuration, *, for_worker: bool = False) -> App:
    """Put the application together; nothing is connected yet. Raises NotReady."""
    settings = configuration.core
    if settings is None or configuration.problems:
        raise NotReady("The configuration is wrong: interalpha check says how to mend it.")
    if not (settings.database_url and settings.redis_url and settings.encryption_keys):
        raise NotReady("DATABASE_URL, REDIS_URL and ENCRYPTION_KEYS are needed; `interalpha dev` brings its own.")
    address = (settings.database_url_worker if for_worker else None) or settings.database_url
    prepared = settings.database_prepared_statements
    database = Database(make_engine(address.get_secret_value(), prepared_statements=prepared))
    redis = _open_redis(settings)
    hub, sealer, wake_ups = Hub(redis), Sealer(settings.sealing_keys), WakeUps(redis)
    contributed = _contributions(configuration.integrations)
    ledger = Ledger()
    connected = _connect(settings, configuration.integrations, ledger, redis)
    outbox = _outbox(database, sealer, hub, wake_ups, configuration, settings)
    views = _views(settings, configuration.integrations)
    return App(
        settings=settings,
        database=database,
        redis=redis,
        hub=hub,
        sealer=sealer,
        wake_ups=wake_ups,
        connected=connected,
        services=_services(
            Installation(
                settings, database, sealer, hub, connected, _carriers(outbox), services={Outbox: outbox, Ledger: ledger}
            ),
            contributed,
            outbox,
            views,
            Circuits(redis),
        ),
        contributions=contributed,
        tokens=_development_tokens(settings),
        timing=timing_of(settings),
    )


def _carriers(outbox: Outbox) -> Mapping[Channel, str]:
    return {channel: service.integration for channel, service in outbox.channels.items()}


def _outbox(
    database: Database,
    sealer: Sealer,
    hub: Hub,
    wake_ups: WakeUps,
    configuration: Configuration,
    settings: CoreSettings,
) -> Outbox:
    return Outbox(
        database,
        sealer,
        hub,
        channel_services(configuration),
        wake_ups.wake,
        quiet_hours=settings.quiet_hours,
        queue_limit=settings.queue_limit,
        is_strict=settings.route_steps is RouteSteps.STRICT,
    )


def _development_tokens(settings: CoreSettings) -> DevelopmentTokens | None:
    if settings.is_production:
        return None
    return DevelopmentTokens(next(iter(settings.sealing_keys.values())), lifetime=settings.development_token_seconds)


def _contributions(integrations: Mapping[str, IntegrationConfiguration]) -> Contributions:
    """Put the nouns' contributions together, and check that a noun understands what each provider reports."""
    contributed = contributions()
    for name, one in integrations.items():
        for kind in sorted(one.card.events, key=lambda event: event.__name__):
            if not contributed.events.understands(kind):
                raise BrokenContribution(f"{name} reports events of the class {kind.__name__}: no noun understands it")
    return contributed


def _services(
    installation: Installation,
    contributed: Contributions,
    outbox: Outbox,
    views: Mapping[str, IntegrationView],
    circuits: Circuits,
) -> Services:
    database, hub, shared_values = installation.database, installation.hub, SharedValues()
    kinds = [change for noun in contributed.nouns.values() for change in noun.changes]
    return Services(
        installation,
        database,
        installation.sealer,
        hub,
        outbox,
        views,
        circuits,
        {one.subject: ChangeFeeds(database, hub, one.reader(installation), one.subject) for one in kinds},
        HealthReader(database, circuits, hub, views, shared_values),
        DashboardReader(database, shared_values),
        ApiKeyVerifier(database, installation.sealer),
        Catalogue(installation.settings.public_base_url),
        contributed.subjects,
    )


def _open_redis(settings: CoreSettings) -> Redis:
    if settings.redis_url is None:
        raise NotReady("REDIS_URL is needed; `interalpha dev` brings its own.")
    return connect_redis(settings.redis_url.get_secret_value())


def webhook_url(settings: CoreSettings, name: str) -> str:
    """Where a provider should send its webhooks."""
    return f"{settings.public_base_url.rstrip('/')}/webhooks/{name}"


def _connect(
    settings: CoreSettings, integrations: Mapping[str, IntegrationConfiguration], ledger: Ledger, redis: Redis
) -> Mapping[str, Connected]:
    return {
        name: one.card.connect(
            one.settings, IntegrationContext(webhook_url(settings, name), CountedCalls(name, ledger, redis))
        )
        for name, one in integrations.items()
        if one.card.connect is not None and one.settings is not None
    }


def channel_services(configuration: Configuration) -> Mapping[Channel, ChannelService]:
    """How each channel is served: by its carrier, or not, with advice."""
    return {channel: _service(channel, carrier) for channel, carrier in configuration.carriers.items()}


def _service(channel: Channel, carrier: Carrier) -> ChannelService:
    one = carrier.integration
    if one.card.connect is None:
        text = say("CHANNEL_NOT_SERVED", "This version does not support {channel}.", channel=channel)
        return ChannelService(one.card.name, False, text)
    advice = say(
        "CHANNEL_NOT_CONFIGURED",
        "{channel} is not configured on this server: set {needed}, then run `interalpha check`.",
        channel=channel,
        needed=_needed(carrier),
    )
    return ChannelService(one.card.name, one.settings is not None, advice, one.mode is Mode.SIMULATED)


def _needed(carrier: Carrier) -> str:
    """The settings to set: those of the chosen integration, or of each that could carry the channel."""
    candidates = [carrier.integration] if carrier.is_chosen else carrier.candidates
    named = {one.card.name: ", ".join(one.needed) or "its settings" for one in candidates}
    if len(named) == 1:
        return next(iter(named.values()))
    # The sentence exists in several languages, so no word joins them.
    return " / ".join(f"{settings} ({name})" for name, settings in named.items())


def _views(
    settings: CoreSettings, integrations: Mapping[str, IntegrationConfiguration]
) -> Mapping[str, IntegrationView]:
    return {
        name: IntegrationView(
            name=name,
            title=one.card.title,
            state=one.state,
            mode=one.mode,
            problems=one.problems,
            webhook_url=webhook_url(settings, name) if one.settings is not None and one.card.has_webhooks else None,
        )
        for name, one in integrations.items()
        if one.card.connect is not None
    }
