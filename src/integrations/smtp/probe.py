"""Checks whether the relay accepts our credentials; it sends no mail."""

import asyncio
from collections.abc import Sequence

from core.errors import ProviderError, ProviderMisconfigured, ProviderUnavailable
from core.ports import Finding, Severity
from core.ports.calls import ProviderCalls, UncountedCalls
from integrations.smtp.adapter import FailoverState
from integrations.smtp.connections import CONNECT_TIMEOUT, Connection, ConnectionLost, ConnectionPool
from integrations.smtp.errors import PROVIDER, session_error
from integrations.smtp.transaction import check_connection


class SmtpProbe:
    """Connects, signs in, and says NOOP; with two servers to each, and tells what the first has failed to take."""

    def __init__(
        self,
        connections: ConnectionPool,
        second: ConnectionPool | None = None,
        standing: FailoverState | None = None,
        calls: ProviderCalls | None = None,
        *,
        seconds: float = CONNECT_TIMEOUT,
    ) -> None:
        self._first = connections
        self._second = second
        self._standing = standing
        self._calls = calls or UncountedCalls()
        self._seconds = seconds

    async def check(self) -> Sequence[Finding]:
        asked = [self._ask(self._first, "SMTP", Severity.CRITICAL)]
        if self._second is not None:
            # Mail goes out all the same while the first one is well.
            asked.append(self._ask(self._second, "SMTP_FALLBACK", Severity.WARNING))
        found = [finding for findings in await asyncio.gather(*asked) for finding in findings]
        if self._standing is not None and self._standing.failures:
            found.append(_failing(self._standing.failures))
        return found

    async def _ask(self, connections: ConnectionPool, name: str, severity: Severity) -> Sequence[Finding]:
        try:
            async with asyncio.timeout(self._seconds):
                await self._calls.call("probe", lambda: connections.use(_noop))
        except ProviderMisconfigured as error:
            fix = f"Compare the {name}_ settings with what the relay's operator gave you."
            return [Finding(f"{name}_REFUSES_US", severity, error.message, fix)]
        except (ProviderError, TimeoutError) as error:
            detail = error.message if isinstance(error, ProviderError) else "The relay does not answer."
            fix = f"Are {name}_HOST and {name}_PORT right, and may this machine reach them?"
            return [Finding(f"{name}_UNREACHABLE", severity, detail, fix)]
        return []


async def _noop(line: Connection) -> None:
    await check_connection(line)
    try:
        line.say(b"NOOP")
        reply = await line.hear()
    except ConnectionLost as error:
        raise ProviderUnavailable("The relay hung up.", provider=PROVIDER) from error
    if reply.code != 250:
        raise session_error(reply.code, reply.text, "to speak with us")


def _failing(failures: int) -> Finding:
    detail = f"The first server has not taken {failures} {'mail' if failures == 1 else 'mails'} in a row."
    fix = "The second one is asked in its place. The log says why, at smtp_first_server_failed."
    return Finding("SMTP_FIRST_SERVER_FAILING", Severity.WARNING, detail, fix)
