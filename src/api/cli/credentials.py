"""The development token: made from the installation's own key, so that whoever can read that key needs no other."""

from collections.abc import Mapping
from uuid import UUID

from api.cli.failures import Exit, Failure
from api.cli.surroundings import core_settings


def development_token(environment: Mapping[str, str], tenant: UUID | None = None, *, for_cli: bool = False) -> str:
    """Make a token for a tenant, the default one unless named; raises Failure in production and without keys.

    `for_cli` says in the audit log that it was a command that acted.
    """
    settings = core_settings(environment)
    if settings.is_production:
        raise Failure("Development tokens end where production begins. Unset APP_ENV to work on a development server.")
    if not settings.encryption_keys:
        raise Failure(
            f"No data in {settings.home.absolute()}. Run this where `make dev` runs, or set INTERALPHA_HOME.",
            Exit.NOT_CONFIGURED,
        )
    # Here, because it brings SQLAlchemy, and help and refusals should not wait for that.
    from core.access.principal import DEFAULT_TENANT
    from core.access.tokens import CLI, DevelopmentTokens

    tokens = DevelopmentTokens(next(iter(settings.sealing_keys.values())))
    return tokens.make(tenant=tenant or DEFAULT_TENANT, subject=CLI if for_cli else "dev")
