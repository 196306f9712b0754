"""What commands call with: an API key that was given to them, or else a development token made on the spot.

A key comes from the environment or from a file, never from an argument: those stand in process lists and histories.
"""

from collections.abc import Mapping
from uuid import UUID

from api.cli.failures import Exit, Failure
from api.cli.surroundings import core_settings
from core.access.api_key_format import read_key
from core.settings import WrongValue
from core.settings.loading import read_secret

API_KEY = "INTERALPHA_API_KEY"


def given_key(environment: Mapping[str, str]) -> str | None:
    """Read the API key commands are to call with; None where there is none. Raises Failure, which never shows it."""
    try:
        key = read_secret(API_KEY, environment)
    except WrongValue as error:
        raise Failure(f"{API_KEY}_FILE {error}.", Exit.NOT_CONFIGURED) from None
    if key is not None and read_key(key) is None:
        raise Failure(
            f"{API_KEY} holds no whole API key: copy it once more, or make one with `interalpha api-keys create`.",
            Exit.NOT_CONFIGURED,
        )
    return key


def development_token(environment: Mapping[str, str], tenant: UUID | None = None, *, for_cli: bool = False) -> str:
    """Make a token for a tenant, the default one unless named; raises Failure in production and without keys.

    It is made from the installation's own key, so that whoever can read that needs no other. `for_cli` says in the
    audit log that it was a command that acted.
    """
    settings = core_settings(environment)
    if settings.is_production:
        raise Failure(
            "Development tokens end where production begins: make a key with `interalpha api-keys create` and set "
            f"{API_KEY} or {API_KEY}_FILE for the commands that call the API. "
            "Unset APP_ENV to work on a development server."
        )
    if not settings.encryption_keys:
        raise Failure(
            f"No data in {settings.home.absolute()}. Run this where `make dev` runs, or set INTERALPHA_HOME. "
            f"To call another server, set {API_KEY} and give --url.",
            Exit.NOT_CONFIGURED,
        )
    # Here, because it brings SQLAlchemy, and help and refusals should not wait for that.
    from core.access.development_tokens import CLI, DevelopmentTokens
    from core.ports.principal import DEFAULT_TENANT

    secret = next(iter(settings.sealing_keys.values()))
    tokens = DevelopmentTokens(secret, lifetime=settings.development_token_seconds)
    return tokens.make(tenant=tenant or DEFAULT_TENANT, subject=CLI if for_cli else "dev")
