"""Kept connections to the relay: signing in costs more than a mail does."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtplib import SMTP, SMTPException
from aiosmtplib.errors import SMTPAuthenticationError, SMTPResponseException

from core.errors import FailureParty, ProviderMisconfigured, ProviderUnavailable
from integrations.smtp.errors import PROVIDER, error_of
from integrations.smtp.settings import Settings, Tls

TIMEOUT = 10.0
_MAX_OPEN = 10
_MAX_IDLE = 20.0
_MAX_USES = 100


class Connections:
    """Up to ten signed-in connections, each used for one mail at a time, again and again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[tuple[SMTP, float, int]] = []
        self._open = asyncio.Semaphore(_MAX_OPEN)
        self._tls = None if settings.tls is Tls.NONE else ssl.create_default_context(cafile=settings.ca_file)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[SMTP]:
        """Lend a connection; it is kept when its use ends well and thrown away when it does not.

        Raises ProviderUnavailable or ProviderMisconfigured when none can be had: nothing has been sent then.
        """
        async with self._open:
            client, uses = await self._ready()
            try:
                yield client
            except BaseException:
                client.close()
                raise
            if client.is_connected and uses < _MAX_USES:
                self._idle.append((client, time.monotonic(), uses + 1))
            else:
                client.close()

    async def _ready(self) -> tuple[SMTP, int]:
        while self._idle:
            client, since, uses = self._idle.pop()
            if client.is_connected and time.monotonic() - since < _MAX_IDLE:
                try:
                    # Ends whatever was begun before, and shows that the other side is still there.
                    await client.rset(timeout=TIMEOUT)
                except (SMTPException, OSError):
                    client.close()
                else:
                    return client, uses
            else:
                client.close()
        return await self._connect(), 1

    async def _connect(self) -> SMTP:
        settings = self._settings
        client = SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            local_hostname=settings.sender_address.rpartition("@")[2],
            use_tls=settings.tls is Tls.IMPLICIT,
            # Never "if offered": whoever sits between could strip the offer.
            start_tls=settings.tls is Tls.STARTTLS,
            tls_context=self._tls,
            timeout=TIMEOUT,
        )
        try:
            await client.connect()
        except SMTPAuthenticationError as error:
            raise error_of(error.code, error.message) from error
        except SMTPResponseException as error:
            raise error_of(min(error.code, 499), error.message) from error
        except ssl.SSLError as error:
            raise _misconfigured("The relay's certificate is not one we trust: see SMTP_CA_FILE.") from error
        except (SMTPException, OSError) as error:
            if "STARTTLS" in str(error):
                raise _misconfigured("The relay offers no STARTTLS; nothing is sent unencrypted.") from error
            if isinstance(error.__cause__, ssl.SSLError):
                raise _misconfigured("The relay's certificate is not one we trust: see SMTP_CA_FILE.") from error
            raise ProviderUnavailable(
                f"The relay could not be reached ({type(error).__name__}).", provider=PROVIDER
            ) from error
        return client

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        while self._idle:
            client, _, _ = self._idle.pop()
            try:
                await client.quit(timeout=1)
            except (SMTPException, OSError):
                client.close()


def _misconfigured(message: str) -> ProviderMisconfigured:
    return ProviderMisconfigured(message, provider=PROVIDER, party=FailureParty.OPERATOR)
