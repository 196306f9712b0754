"""Asking the relay whether it lets us in; no mail is sent."""

import asyncio
from collections.abc import Sequence

from aiosmtplib import SMTPException

from core.errors import ProviderError, ProviderMisconfigured
from core.ports import Finding, Severity
from integrations.smtp.connections import TIMEOUT, Connections


class SmtpProbe:
    """Connects, signs in, and says NOOP."""

    def __init__(self, connections: Connections, *, seconds: float = TIMEOUT) -> None:
        self._connections = connections
        self._seconds = seconds

    async def check(self) -> Sequence[Finding]:
        try:
            async with asyncio.timeout(self._seconds), self._connections.take() as client:
                await client.noop()
        except ProviderMisconfigured as error:
            fix = "Compare the SMTP_ settings with what the relay's operator gave you."
            return [Finding("SMTP_REFUSES_US", Severity.CRITICAL, error.message, fix)]
        except (ProviderError, SMTPException, OSError) as error:
            detail = error.message if isinstance(error, ProviderError) else "The relay does not answer."
            fix = "Are SMTP_HOST and SMTP_PORT right, and may this machine reach them?"
            return [Finding("SMTP_UNREACHABLE", Severity.CRITICAL, detail, fix)]
        return []
