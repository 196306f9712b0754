"""The settings of the installation itself: its environment, stores, keys and limits."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from core.quiet_hours import DEFAULT_QUIET_HOURS, QuietHours
from core.settings.addresses import DatabaseUrl, DirectDatabaseUrl, RedisUrl, WebAddress, WebOrigin
from core.settings.loading import SettingsGroup
from core.settings.values import (
    DAYS,
    Days,
    EncryptionKey,
    Manifest,
    Network,
    TrustMode,
    parse_encryption_keys,
    parse_networks,
    parse_quiet_hours,
    read_manifest,
)
from core.settings.variables import Problem, describe, setting

_LOCAL_ADDRESS = "http://localhost:8000"
_RETRY_HOURS = "hours, from 0.1 to 72"
RetryHours = Annotated[float, Field(ge=0.1, le=72)]
_VIA = "the name of a provider that carries this channel, as `interalpha check` lists them"
_FOLDER = "[A-Za-z][A-Za-z0-9_]*"
Via = Annotated[str, BeforeValidator(str.lower)] | None
REQUIRED_IN_PRODUCTION = ("PUBLIC_BASE_URL", "DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEYS")


class AppEnv(StrEnum):
    """What an installation is for."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class RouteSteps(StrEnum):
    """What happens to steps of a route whose provider is not configured, or not built."""

    SKIP = "skip"
    STRICT = "strict"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class CoreSettings(SettingsGroup):
    """The settings that are no integration's; outside production `interalpha dev` provides stores and keys."""

    app_env: AppEnv = setting(
        "APP_ENV",
        default=AppEnv.DEVELOPMENT,
        about="What this installation is for",
        fix="development, test or production",
        read_by="API, worker, commands",
    )
    public_base_url: WebAddress = setting(
        "PUBLIC_BASE_URL",
        default=_LOCAL_ADDRESS,
        about="The public URL of this API; providers send their webhooks there (required in production)",
        fix="https://host or https://host/path",
        example="https://api.example.com",
    )
    database_url: DatabaseUrl | None = setting(
        "DATABASE_URL",
        default=None,
        about="PostgreSQL, as the application's role (required in production)",
        fix="postgresql://user:password@host/database; Neon's connection string as it is handed out; with a CA of "
        "your own ?sslmode=verify-full&sslrootcert=/path/ca.pem",
        example="postgresql://interalpha_app:password@localhost:5432/interalpha",
        read_by="API, worker, commands",
    )
    database_url_worker: DatabaseUrl | None = setting(
        "DATABASE_URL_WORKER",
        default=None,
        about="PostgreSQL, as the worker's own role (default: DATABASE_URL)",
        fix="postgresql://user:password@host/database",
        example="postgresql://interalpha_worker:password@localhost:5432/interalpha",
        read_by="worker",
    )
    database_url_direct: DirectDatabaseUrl | None = setting(
        "DATABASE_URL_DIRECT",
        default=None,
        about="PostgreSQL past the pooler, as the owner of the tables; migrations use it (default: DATABASE_URL)",
        fix="postgresql://user:password@host/database, the host without -pooler",
        example="postgresql://interalpha_migrate:password@localhost:5432/interalpha",
        read_by="commands",
    )
    database_prepared_statements: bool = setting(
        "DATABASE_PREPARED_STATEMENTS",
        default=True,
        about="Whether statements are prepared; false is the safe choice behind a PgBouncer older than 1.21",
        fix="true or false",
        read_by="API, worker, commands",
    )
    redis_url: RedisUrl | None = setting(
        "REDIS_URL",
        default=None,
        about="Redis or Valkey (required in production)",
        fix="redis://:password@host:6379/0, or rediss:// for TLS; with a CA of your own ?ssl_ca_certs=/path/ca.pem",
        example="redis://localhost:6379/0",
    )
    encryption_keys: Annotated[tuple[EncryptionKey, ...], BeforeValidator(parse_encryption_keys)] = setting(
        "ENCRYPTION_KEYS",
        default=(),
        about="The keys that seal personal data in the database, the current one first (required in production)",
        fix='id:base64 of 32 bytes, separated by commas. Create one: echo "k1:$(openssl rand -base64 32)"',
        read_by="API, worker, commands",
    )
    development_token_days: Annotated[int, Field(ge=1, le=365)] = setting(
        "DEVELOPMENT_TOKEN_DAYS",
        default=30,
        about="How many days a token of `interalpha token` is valid; tokens valid for longer are refused",
        fix="days, from 1 to 365",
        read_by="API, commands",
    )
    log_level: Annotated[LogLevel, BeforeValidator(str.lower)] = setting(
        "LOG_LEVEL", default=LogLevel.INFO, about="How much is logged", fix="debug, info, warning or error"
    )
    send_deadline: Annotated[float, Field(ge=1, le=120)] = setting(
        "SEND_DEADLINE",
        default=20.0,
        about="Seconds one call to a provider may take; a worker's lease on a message is twice that and five seconds",
        fix="seconds, from 1 to 120",
        read_by="worker",
    )
    unconfirmed_hold: Annotated[float, Field(ge=1, le=3600)] = setting(
        "UNCONFIRMED_HOLD",
        default=60.0,
        about="Seconds a message that was perhaps sent is held before the provider is asked, or its route decides",
        fix="seconds, from 1 to 3600",
        read_by="worker",
    )
    retry_hours_whatsapp: RetryHours = setting(
        "RETRY_HOURS_WHATSAPP",
        default=1.0,
        about="How long a WhatsApp message is retried, at least, while Meta is unavailable; pauses grow to 15 minutes",
        fix=_RETRY_HOURS,
        read_by="worker",
    )
    retry_hours_sms: RetryHours = setting(
        "RETRY_HOURS_SMS",
        default=1.0,
        about="How long an SMS is retried, at least, while its provider is unavailable; pauses grow to 15 minutes",
        fix=_RETRY_HOURS,
        read_by="worker",
    )
    retry_hours_email: RetryHours = setting(
        "RETRY_HOURS_EMAIL",
        default=4.0,
        about="How long an e-mail is retried, at least, while the relay is unavailable; pauses grow to 15 minutes",
        fix=_RETRY_HOURS,
        read_by="worker",
    )
    whatsapp_via: Via = setting(
        "WHATSAPP_VIA",
        default=None,
        about="The provider that sends WhatsApp messages; needed where several are configured",
        fix=_VIA,
        matches=_FOLDER,
        example="whatsapp",
    )
    sms_via: Via = setting(
        "SMS_VIA",
        default=None,
        about="The provider that sends SMS; needed where several are configured",
        fix=_VIA,
        matches=_FOLDER,
        example="twilio",
    )
    email_via: Via = setting(
        "EMAIL_VIA",
        default=None,
        about="The provider that sends e-mail; needed where several are configured",
        fix=_VIA,
        matches=_FOLDER,
        example="smtp",
    )
    quiet_hours: Annotated[QuietHours, BeforeValidator(parse_quiet_hours)] = setting(
        "QUIET_HOURS",
        default=DEFAULT_QUIET_HOURS,
        about="When messages that respect quiet hours are deferred, in the recipient's local time",
        fix="two times of day, like 21:00-08:00",
    )
    route_steps: RouteSteps = setting(
        "ROUTE_STEPS",
        default=RouteSteps.SKIP,
        about="Steps of a route whose provider is not configured: skip leaves them out, strict refuses the route",
        fix="skip or strict",
        read_by="API",
    )
    queue_limit: Annotated[int, Field(ge=100, le=10_000_000)] = setting(
        "QUEUE_LIMIT",
        default=100_000,
        about="How many messages may wait for one channel; more are refused, with a time to retry",
        fix="a number, from 100 to 10000000",
        read_by="API",
    )
    retention_content_days: Days = setting(
        "RETENTION_CONTENT_DAYS",
        default=180,
        about="How long the content of messages is kept after their last change; their history stays",
        fix=DAYS,
        read_by="worker",
    )
    retention_addresses_days: Days = setting(
        "RETENTION_ADDRESSES_DAYS",
        default=365,
        about="How long the addresses of messages are kept, the masked form included",
        fix=DAYS,
        read_by="worker",
    )
    retention_webhooks_days: Days = setting(
        "RETENTION_WEBHOOKS_DAYS",
        default=30,
        about="How long webhooks are kept; afterwards they cannot be processed again",
        fix=DAYS,
        read_by="worker",
    )
    home: Path = setting(
        "INTERALPHA_HOME",
        default=Path(".interalpha"),
        about="The folder `interalpha dev` keeps its stores in",
        fix="a folder",
        read_by="commands",
    )
    explorer: bool | None = setting(
        "EXPLORER",
        default=None,
        about="Whether /graphiql/ serves the Explorer (default: on in development and test, off in production)",
        fix="on or off",
        read_by="API",
    )

    cors_origins: tuple[WebOrigin, ...] = setting(
        "CORS_ORIGINS",
        default=(),
        about="The origins of pages on other hosts that may call the API (default: only pages of PUBLIC_BASE_URL)",
        fix="https://host, several separated by commas",
        several=True,
        read_by="API",
    )
    persisted_queries: bool = setting(
        "PERSISTED_QUERIES",
        default=True,
        about="Whether clients may register queries and then send their SHA-256 (never while documents are enforced)",
        fix="true or false",
        read_by="API",
    )
    trusted_documents: Annotated[Manifest | None, BeforeValidator(read_manifest)] = setting(
        "TRUSTED_DOCUMENTS",
        default=None,
        about="The manifest of the operations that frontends were built with (optional)",
        fix='a JSON file of {"sha256 of a document": "the document"}, as graphql-codegen and relay-compiler write it',
        read_by="API",
    )
    trusted_documents_mode: Annotated[TrustMode, BeforeValidator(str.lower)] = setting(
        "TRUSTED_DOCUMENTS_MODE",
        default=TrustMode.OFF,
        about="What happens to documents that are not in TRUSTED_DOCUMENTS: they run, are logged, or are refused",
        fix="off, log or enforce",
        read_by="API",
    )
    sockets_per_caller: Annotated[int, Field(ge=1, le=100_000)] = setting(
        "SOCKETS_PER_CALLER",
        default=100,
        about="How many sockets one caller may have open at one API process",
        fix="a number from 1 to 100000",
        read_by="API",
    )
    operations_per_socket: Annotated[int, Field(ge=1, le=10_000)] = setting(
        "OPERATIONS_PER_SOCKET",
        default=100,
        about="How many operations may be under way on one socket",
        fix="a number from 1 to 10000",
        read_by="API",
    )
    socket_frame_limit: Annotated[int, Field(ge=1_024, le=16_777_216)] = setting(
        "SOCKET_FRAME_LIMIT",
        default=4_194_304,
        about="The largest message on a socket, in bytes; below 2500000 the longest e-mails do not fit",
        fix="a number from 1024 to 16777216",
        read_by="API",
    )

    caller_budget: Annotated[int, Field(ge=100, le=1_000_000_000)] = setting(
        "CALLER_BUDGET",
        default=60_000,
        about="How many points one person may spend in a minute; most operations cost from 1 to 500",
        fix="a number from 100 to 1000000000",
        read_by="API",
    )
    given_tenant_budget: Annotated[int, Field(ge=100, le=1_000_000_000)] | None = setting(
        "TENANT_BUDGET",
        default=None,
        about="How many points all API keys of a tenant together may spend in a minute (default: CALLER_BUDGET)",
        fix="a number from 100 to 1000000000",
        read_by="API",
    )
    operation_cost: Annotated[int, Field(ge=100, le=1_000_000)] = setting(
        "OPERATION_COST",
        default=20_000,
        about="How many points one operation may cost",
        fix="a number from 100 to 1000000",
        read_by="API",
    )
    operation_seconds: Annotated[float, Field(ge=1, le=120)] = setting(
        "OPERATION_SECONDS",
        default=10.0,
        about="Seconds a query or mutation may take (sendMessages: 30, or this where it is more)",
        fix="seconds, from 1 to 120",
        read_by="API",
    )
    api_keys_end_with_maker: bool = setting(
        "API_KEYS_END_WITH_MAKER",
        default=False,
        about="Whether API keys are revoked once the person who made them is deleted, banned or leaves the tenant",
        fix="true or false",
        read_by="worker",
    )
    address_budget: Annotated[int, Field(ge=0, le=1_000_000)] = setting(
        "ADDRESS_BUDGET",
        default=3_000,
        about="How many requests a minute without valid credentials one IP address (of IPv6: one /64) may make at one "
        "API process; bad credentials count eleven times, 0 is no limit",
        fix="a number from 0 to 1000000",
        read_by="API",
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(parse_networks)] = setting(
        "TRUSTED_PROXIES",
        default=(),
        about="The proxies whose X-Forwarded-For is trusted (default: none, the connection's address counts)",
        fix="addresses or networks like 10.0.0.0/8, several separated by commas",
        example="10.0.0.0/8",
        read_by="API",
    )

    @property
    def tenant_budget(self) -> int:
        """How many points the API keys of a tenant share."""
        return self.caller_budget if self.given_tenant_budget is None else self.given_tenant_budget

    @property
    def development_token_seconds(self) -> int:
        """How many seconds a development token lasts."""
        return self.development_token_days * 86_400

    @property
    def is_production(self) -> bool:
        """Say whether this is a production installation."""
        return self.app_env is AppEnv.PRODUCTION

    @property
    def has_explorer(self) -> bool:
        """Say whether the Explorer is served."""
        return not self.is_production if self.explorer is None else self.explorer

    @property
    def retry_for(self) -> Mapping[str, timedelta]:
        """How long a step is tried again at least, by channel."""
        hours = {"WHATSAPP": self.retry_hours_whatsapp, "SMS": self.retry_hours_sms, "EMAIL": self.retry_hours_email}
        return {channel: timedelta(hours=many) for channel, many in hours.items()}

    @property
    def via(self) -> Mapping[str, str]:
        """The providers that were chosen, by channel; the setting is the channel's name with _VIA."""
        chosen = {"WHATSAPP": self.whatsapp_via, "SMS": self.sms_via, "EMAIL": self.email_via}
        return {channel: name for channel, name in chosen.items() if name is not None}

    @property
    def sealing_keys(self) -> Mapping[str, bytes]:
        """The encryption keys by id, the current one first."""
        return {key.id: key.secret.get_secret_value() for key in self.encryption_keys}

    @classmethod
    def rules(cls, given: Mapping[str, str]) -> Iterator[Problem]:
        """Yield the settings that production requires, and a mode of trusted documents without a manifest."""
        if given.get("APP_ENV") == AppEnv.PRODUCTION:
            fixes = {variable.name: variable.fix for variable in describe(cls)}
            for name in REQUIRED_IN_PRODUCTION:
                if name not in given:
                    yield Problem(name, f"is missing: {fixes[name]}", missing=True)
        mode = given.get("TRUSTED_DOCUMENTS_MODE", "").lower()
        if mode in (TrustMode.LOG, TrustMode.ENFORCE) and "TRUSTED_DOCUMENTS" not in given:
            message = f"is missing: TRUSTED_DOCUMENTS_MODE is {mode}, and nothing can be compared without a manifest"
            yield Problem("TRUSTED_DOCUMENTS", message, missing=True)
