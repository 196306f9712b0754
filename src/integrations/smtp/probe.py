"""Asking the relay whether it lets us in; no mail is sent."""

from collections.abc import Sequence

from aiosmtplib import SMTPException

from core.errors import ProviderError, ProviderMisconfigured
from core.ports import Finding, Severity
from integrations.smtp.connections import TIMEOUT, Connections


class SmtpProbe:
    """Connects, signs in, and says NOOP."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def check(self) -> Sequence[Finding]:
        try:
            async with self._connections.take() as client:
                await client.noop(timeout=TIMEOUT)
        except ProviderMisconfigured as error:
            fix = "Compare the SMTP_ settings with what the relay's operator gave you."
            return [Finding("SMTP_REFUSES_US", Severity.CRITICAL, error.message, fix)]
        except (ProviderError, SMTPException, OSError) as error:
            fix = "Is SMTP_HOST right, and may this machine reach it?"
            return [Finding("SMTP_UNREACHABLE", Severity.CRITICAL, str(error), fix)]
        return []
