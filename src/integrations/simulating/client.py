"""A client of the control API of a running simulator process, for tests and the command line."""

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

Json = dict[str, Any]


class SimulatorRefused(Exception):
    """The control API refused what it was asked; `field` is the input at fault."""

    def __init__(self, message: str, *, status: int, field: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field


class SimulatorControl:
    """An asynchronous client; `base_url` is the address the process announces as `http`."""

    def __init__(self, base_url: str, *, timeout: float = 10.0) -> None:
        self._root = f"{base_url.rstrip('/')}/sim/api"
        self._http = httpx.AsyncClient(timeout=timeout, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def everything(self) -> Json:
        """Where the process listens, and the state of every simulator."""
        return await self._ask("GET", "")

    async def state(self, simulator: str) -> Json:
        """One simulator at a glance."""
        return await self._ask("GET", f"/{simulator}")

    async def reset(self, simulator: str | None = None) -> None:
        """Bring one simulator, or all, back to its first day."""
        await self._ask("POST", f"/{simulator}/reset" if simulator else "/reset")

    async def messages(self, simulator: str, *, to: str | None = None, since: str | None = None) -> list[Json]:
        """The messages a simulator keeps, oldest first."""
        answer = await self._ask("GET", f"/{simulator}/messages", query={"to": to, "since": since})
        return list(answer["messages"])

    async def message(self, simulator: str, message_id: str) -> Json:
        """One message."""
        return await self._ask("GET", f"/{simulator}/messages/{_escaped(message_id)}")

    async def journal(self, **filters: str | None) -> list[Json]:
        """The log, oldest first: filters are simulator, direction, verdict, to, since, message_id, webhook_id."""
        return list((await self._ask("GET", "/journal", query=filters))["entries"])

    async def arm(self, simulator: str, kind: str, **order: Any) -> Json:
        """Arm a fault; see `FaultOrder` for the words."""
        return await self._ask("POST", f"/{simulator}/faults", {"kind": kind, **order})

    async def disarm(self, simulator: str, fault_id: str | None = None) -> None:
        """Take one fault away, or all."""
        await self._ask("DELETE", f"/{simulator}/faults" + (f"/{fault_id}" if fault_id else ""))

    async def plan_webhooks(self, simulator: str, **plan: Any) -> Json:
        """Let webhooks travel another way; what is not named is as usual. See `WebhookPlan`."""
        return await self._ask("PUT", f"/{simulator}/webhooks", plan)

    async def release(self, simulator: str) -> int:
        """Send the webhooks that were held back; returns how many."""
        return int((await self._ask("POST", f"/{simulator}/webhooks/release"))["released"])

    async def redeliver(self, simulator: str, webhook_id: str) -> None:
        """Send a webhook again, byte for byte."""
        await self._ask("POST", f"/{simulator}/webhooks/{webhook_id}/redeliver")

    async def inbound(self, simulator: str, **message: Any) -> Json:
        """Let a customer write to us; `sender`, `text` and perhaps `recipient`."""
        return await self._ask("POST", f"/{simulator}/inbound", message)

    async def report(self, simulator: str, message_id: str, status: str, code: int | None = None) -> Json:
        """Let something become of a message."""
        return await self._ask(
            "POST", f"/{simulator}/messages/{_escaped(message_id)}/report", {"status": status, "code": code}
        )

    async def act(self, simulator: str, action: str, **order: Any) -> Json:
        """Do one of the things that only this provider can; see `actions` of its state."""
        return await self._ask("POST", f"/{simulator}/actions/{action}", order)

    async def trigger(self, simulator: str, event: str, **order: Any) -> Json:
        """Let the provider tell us something, now; returns the webhook and how it was received."""
        return dict((await self._ask("POST", f"/{simulator}/events/{_escaped(event)}", order))["webhook"])

    async def advance(self, simulator: str, seconds: float) -> None:
        """Let time pass at once, by the provider's clock."""
        await self._ask("POST", f"/{simulator}/clock", {"seconds": seconds})

    async def export_memory(self, simulator: str) -> Json:
        """Everything the provider remembers."""
        return await self._ask("GET", f"/{simulator}/export")

    async def import_memory(self, simulator: str, memory: Json) -> None:
        """Let the provider remember what was exported, and nothing else."""
        await self._ask("POST", f"/{simulator}/import", memory)

    async def _ask(
        self, method: str, path: str, body: Json | None = None, query: dict[str, str | None] | None = None
    ) -> Json:
        params = {key: value for key, value in (query or {}).items() if value is not None}
        response = await self._http.request(method, self._root + path, json=body, params=params)
        answer: Json = response.json()
        if response.is_error:
            error = answer["error"]
            raise SimulatorRefused(error["message"], status=response.status_code, field=error["field"])
        return answer


def _escaped(part: str) -> str:
    """One part of a path; the ids of some providers hold slashes."""
    return quote(part, safe="")
