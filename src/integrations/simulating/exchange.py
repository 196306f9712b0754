"""One HTTP request to a simulated provider: answered with its faults and written into the journal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

from aiohttp import web

from integrations.simulating.faults import CallerConnection, FaultKind, FaultOrder, RetryAfterForm, respond_under_fault
from integrations.simulating.journal import Direction, Entry, Verdict, redacted_headers, redacted_path
from integrations.simulating.provider import SimulatedProvider

GARBAGE = "<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"


@dataclass(frozen=True, slots=True)
class SimulatedResponse:
    """What the provider says, and what it wrote down about it."""

    status: int
    text: str
    verdict: Verdict
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    message_id: str | None = None


async def exchange(
    provider: SimulatedProvider,
    request: web.Request,
    *,
    at: str,
    to: str | None,
    perform: Callable[[], SimulatedResponse],
    excuse: Callable[[FaultOrder], SimulatedResponse],
) -> web.StreamResponse:
    """Answer a request. `perform` must not await: an accepted message is journalled before anybody can interfere."""
    body = (await request.read()).decode("utf-8", "replace")
    fault = provider.faults.strike(at, to)
    received = Entry(
        simulator=provider.name,
        direction=Direction.RECEIVED,
        method=request.method,
        path=redacted_path(request.path_qs),
        headers=redacted_headers(request.headers),
        body=body,
        verdict=Verdict.FAULTED,
        fault=fault.order.kind if fault else None,
        to=to,
    )

    note = partial(_note, provider, received)

    def performed() -> SimulatedResponse:
        answer = perform()
        note(answer, answer.verdict)
        return answer

    def excused(order: FaultOrder) -> SimulatedResponse:
        return _garbage(request) if order.kind is FaultKind.GARBAGE else excuse(order)

    transport = request.transport
    line = CallerConnection(transport, is_gone=lambda: transport is None or transport.is_closing())
    answer = await respond_under_fault(fault, line, performed, excused)
    if fault and fault.prevents:
        note(answer, Verdict.FAULTED)
    return _response(answer)


def _note(provider: SimulatedProvider, received: Entry, answer: SimulatedResponse | None, verdict: Verdict) -> None:
    entry = replace(received, verdict=verdict)
    if answer is not None:
        entry = replace(entry, status=answer.status, code=answer.code, message_id=answer.message_id)
    provider.journal.write(entry)


def _response(answer: SimulatedResponse | None) -> web.Response:
    if answer is None:
        return web.Response()  # into the void: the line is cut
    return web.Response(
        status=answer.status, text=answer.text, content_type=answer.content_type, headers=answer.headers
    )


def _garbage(request: web.Request) -> SimulatedResponse:
    """A page of HTML where the provider's words should be."""
    status = 201 if request.method == "POST" else 200
    return SimulatedResponse(status, GARBAGE, Verdict.FAULTED, content_type="text/html")


def retry_after(order: FaultOrder) -> dict[str, str]:
    """The Retry-After header an order asks for."""
    if order.retry_after is None:
        return {}
    if order.retry_after_as is RetryAfterForm.SECONDS:
        return {"Retry-After": str(order.retry_after)}
    moment = datetime.now(UTC) + timedelta(seconds=order.retry_after)
    return {"Retry-After": format_datetime(moment, usegmt=True)}
