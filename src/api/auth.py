"""From a bearer token to a principal."""

from api.bootstrap import House
from core.access.principal import Principal
from core.errors import Unauthenticated
from core.words import say


class Authenticator:
    """Knows the credentials this installation accepts."""

    def __init__(self, house: House) -> None:
        self._tokens = house.tokens

    async def __call__(self, token: str | None) -> Principal | None:
        """Say who a token speaks for, nobody for no token; raises Unauthenticated for one nobody here issued."""
        if token is None:
            return None
        if self._tokens is None:
            raise Unauthenticated(
                say(
                    "NO_CREDENTIALS_ACCEPTED",
                    "This server accepts no credentials yet: development tokens end where production begins.",
                )
            )
        return self._tokens.read(token)
