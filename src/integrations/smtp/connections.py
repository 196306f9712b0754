"""Kept connections to the relay: signing in costs more than a mail does."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtplib import SMTP, SMTPException
from aiosmtplib.errors import SMTPAuthenticationError, SMTPResponseException

from core.errors import FailureParty, ProviderError, ProviderMisconfigured, ProviderRejected, ProviderUnavailable
from integrations.smtp.errors import PROVIDER, refusal_of_us
from integrations.smtp.servers import Server, Tls
from integrations.smtp.settings import Settings

TIMEOUT = 10.0
MAX_OPEN = 10
_MAX_IDLE = 20.0
_MAX_USES = 100
_PULSE = 2.0
"""Seconds in which a kept connection must show that the other side is still there."""


class Connections:
    """Up to ten signed-in connections to one server, each used for one mail at a time, again and again."""

    def __init__(self, settings: Settings, server: Server | None = None) -> None:
        self._server = server or settings.first
        self._own_name = settings.sender_address.rpartition("@")[2]
        self._idle: list[tuple[SMTP, float, int]] = []
        self._open = asyncio.Semaphore(MAX_OPEN)
        self._context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def take(self) -> AsyncIterator[SMTP]:
        """Lend a connection; it is kept when its use ends well, or in a plain no, and thrown away when it does not.

        Raises ProviderUnavailable or ProviderMisconfigured when none can be had: nothing has been sent then.
        """
        async with self._open:
            client, uses = await self._ready()
            try:
                yield client
            except ProviderRejected:
                self._keep(client, uses)
                raise
            except BaseException:
                client.close()
                raise
            self._keep(client, uses)

    def _keep(self, client: SMTP, uses: int) -> None:
        if client.is_connected and uses < _MAX_USES:
            self._idle.append((client, time.monotonic(), uses + 1))
        else:
            client.close()

    async def _ready(self) -> tuple[SMTP, int]:
        while self._idle:
            client, since, uses = self._idle.pop()
            if time.monotonic() - since < _MAX_IDLE and await _is_alive(client):
                return client, uses
            client.close()
        return await self._connect(), 1

    async def _connect(self) -> SMTP:
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password.get_secret_value() if server.password else None,
            local_hostname=self._own_name,
            use_tls=server.tls is Tls.IMPLICIT,
            # Never "if offered": whoever sits between could strip the offer.
            start_tls=server.tls is Tls.STARTTLS,
            tls_context=self._tls(),
            timeout=TIMEOUT,
        )
        try:
            await client.connect()
        except SMTPAuthenticationError as error:
            what = server.named("our credentials: see SMTP_USERNAME, SMTP_PASSWORD")
            raise refusal_of_us(error.code, error.message, what) from error
        except SMTPResponseException as error:
            raise refusal_of_us(error.code, error.message, "to speak with us") from error
        except (SMTPException, OSError, UnicodeError) as error:
            raise _explain(error, server) from error
        return client

    def _tls(self) -> ssl.SSLContext | None:
        if self._context is None and self._server.tls is not Tls.NONE:
            try:
                self._context = ssl.create_default_context(cafile=self._server.ca_file)
            except OSError as error:
                raise _misconfigured("SMTP_CA_FILE holds no certificates in PEM form.", self._server) from error
        return self._context

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        while self._idle:
            client, _, _ = self._idle.pop()
            try:
                await client.quit(timeout=1)
            except (SMTPException, OSError):
                client.close()


async def _is_alive(client: SMTP) -> bool:
    """Whether the other side is still there; ends whatever was begun before."""
    if not client.is_connected:
        return False
    try:
        await client.rset(timeout=_PULSE)
    except (SMTPException, OSError):
        return False
    except BaseException:
        client.close()
        raise
    return True


def _explain(error: Exception, server: Server) -> ProviderError:
    """Why there is no connection; the library says some of it only in words."""
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _misconfigured("The relay's certificate is not one we trust: see SMTP_HOST and SMTP_CA_FILE.", server)
    if isinstance(cause, ssl.SSLError):
        return _misconfigured("The relay and we cannot agree on TLS: see SMTP_TLS and SMTP_PORT.", server)
    if isinstance(cause, UnicodeError):
        return _misconfigured("SMTP_HOST is not the name of a host.", server)
    if type(cause) is SMTPException and "STARTTLS" in str(cause):
        return _misconfigured("The relay offers no STARTTLS; nothing is sent unencrypted.", server)
    if type(cause) is SMTPException:
        return _misconfigured("The relay offers no way to sign in that we know: see SMTP_USERNAME.", server)
    return ProviderUnavailable(f"The relay could not be reached ({type(cause).__name__}).", provider=PROVIDER)


def _misconfigured(message: str, server: Server) -> ProviderMisconfigured:
    return ProviderMisconfigured(server.named(message), provider=PROVIDER, party=FailureParty.OPERATOR)
