"""Sends a provider's webhooks: in time or late, once or twice, in order or reversed, delayed or lost, as ordered."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import aiohttp
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import PydanticCustomError
from yarl import URL

from integrations.simulating.journal import Direction, Entry, Journal, Verdict, redacted_path

# Twilio's defaults; the other providers are of the same size. https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
RETRY_DELAY = 0.3
"""Seconds until a webhook whose connection failed is tried again."""


class WebhookPlan(BaseModel, frozen=True, extra="forbid"):
    """How a provider's webhooks travel.

    `delays` are the seconds before the first, second … report about a message, the last one counting for all that
    follow. Without `automatic`, nothing happens to a message until the control API says so.
    """

    automatic: bool = True
    delays: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = Field((0.05, 0.1), min_length=1)
    copies: Annotated[int, Field(ge=1, le=100)] = 1
    reversed: bool = False
    hold: bool = False
    drop: bool = False
    retries: Annotated[int, Field(ge=0, le=10)] = 1

    def delay(self, step: int) -> float:
        """Seconds before a step of a message's life, counted from 0."""
        return self.delays[min(step, len(self.delays) - 1)]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A signed request, ready to go; a copy and a retry are the same bytes.

    `retries` is how often it is tried again where its receiver has asked for another number than the plan's, and
    `retried` what is tried again: ct (no connection), rt (no answer), 4xx, 5xx.
    """

    id: str
    url: str
    headers: Mapping[str, str]
    body: str
    message_id: str
    to: str
    retries: int | None = None
    retried: frozenset[str] = frozenset({"ct"})


Step = Callable[[], Webhook | None]


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What was answered to a webhook, and how soon; without a status there was no answer, and `detail` says why."""

    status: int | None
    millis: float
    detail: str | None


@dataclass(slots=True)
class WebhookSender:
    """Carries the webhooks of one provider, each attempt into the journal."""

    simulator: str
    journal: Journal
    default_plan: WebhookPlan
    plan: WebhookPlan = field(init=False)
    sent: dict[str, Webhook] = field(default_factory=dict)
    held: list[Webhook] = field(default_factory=list)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _session: aiohttp.ClientSession | None = None

    def __post_init__(self) -> None:
        self.plan = self.default_plan

    def live(self, steps: Sequence[Step]) -> None:
        """Let a message live: each step happens in its time, and its webhook travels as the plan says."""
        self._begin(self._live(steps, self.plan))

    def post(self, webhook: Webhook) -> None:
        """Send one webhook as the plan says, now."""
        self._begin(self._travel(webhook, self.plan))

    def release(self) -> int:
        """Send what was held back, in its order; returns how many."""
        released, self.held = self.held, []
        self._begin(self._send_all(released))
        return len(released)

    async def redeliver(self, webhook_id: str) -> bool:
        """Send a webhook again, byte for byte, whatever the plan says; False when it was never made."""
        webhook = self.sent.get(webhook_id)
        if webhook is None:
            return False
        await self._deliver(webhook, retries=0)
        return True

    async def ask(self, url: str) -> tuple[int | None, str]:
        """Put a question to an address of ours: its status and words; None and why where it does not answer."""
        try:
            async with self._opened().get(URL(url, encoded=True), allow_redirects=False) as answer:
                status, text = answer.status, await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            status, text = None, repr(error)
        verdict = Verdict.UNREACHED if status is None else Verdict.DELIVERED
        entry = Entry(self.simulator, Direction.WEBHOOK, "GET", redacted_path(url), verdict, status=status)
        self.journal.write(entry)
        return status, text

    async def carry(self, webhook: Webhook) -> DeliveryResult:
        """Send one webhook at once and once, whatever the plan says, and tell how it was received."""
        self.sent[webhook.id] = webhook
        began, status, detail = time.perf_counter(), None, None
        try:
            status = await self._post(webhook)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            detail = str(error) or repr(error)
        millis = (time.perf_counter() - began) * 1000
        verdict = Verdict.UNREACHED if status is None else Verdict.DELIVERED
        self._write(webhook, verdict, attempt=1, status=status, detail=detail)
        return DeliveryResult(status, millis, detail)

    async def forget(self) -> None:
        """Forget everything under way, sent and held."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.sent.clear()
        self.held.clear()

    async def reset(self) -> None:
        """Forget everything, the plan too."""
        await self.forget()
        self.plan = self.default_plan

    async def close(self) -> None:
        """Stop everything under way."""
        await self.reset()
        if self._session is not None:
            await self._session.close()

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, steps: Sequence[Step], plan: WebhookPlan) -> None:
        if not plan.automatic:
            return
        late: list[Webhook] = []
        for number, step in enumerate(steps):
            await asyncio.sleep(plan.delay(number))
            webhook = step()
            if webhook is not None and plan.reversed:
                late.insert(0, webhook)
            elif webhook is not None:
                await self._travel(webhook, self.plan)
        for webhook in late:
            await self._travel(webhook, self.plan)

    async def _travel(self, webhook: Webhook, plan: WebhookPlan) -> None:
        self.sent[webhook.id] = webhook
        if plan.drop:
            self._write(webhook, Verdict.DROPPED, attempt=1)
        elif plan.hold:
            self.held.append(webhook)
        else:
            for _ in range(plan.copies):
                await self._deliver(webhook, plan.retries if webhook.retries is None else webhook.retries)

    async def _send_all(self, webhooks: Sequence[Webhook]) -> None:
        for webhook in webhooks:
            for _ in range(self.plan.copies):
                await self._deliver(webhook, self.plan.retries if webhook.retries is None else webhook.retries)

    async def _deliver(self, webhook: Webhook, retries: int) -> None:
        """Post a webhook, again and again where that is asked for, until the time for all of it is over."""
        over = asyncio.get_running_loop().time() + (TIMEOUT.total or 0)
        for attempt in range(1, retries + 2):
            what_went_wrong = await self._try(webhook, attempt)
            is_last = attempt > retries or asyncio.get_running_loop().time() + RETRY_DELAY > over
            if is_last or what_went_wrong not in webhook.retried:
                return
            await asyncio.sleep(RETRY_DELAY)

    async def _try(self, webhook: Webhook, attempt: int) -> str | None:
        """Post a webhook once, and say what went wrong in the words of `Webhook.retried`."""
        try:
            status = await self._post(webhook)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._write(webhook, Verdict.UNREACHED, attempt, detail=str(error))
            return "ct"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._write(webhook, Verdict.UNREACHED, attempt, detail=repr(error))
            return "rt"
        self._write(webhook, Verdict.DELIVERED, attempt, status=status)
        return f"{status // 100}xx" if status >= 400 else None

    async def _post(self, webhook: Webhook) -> int:
        # encoded=True: the address goes out letter for letter, as the signature covers it.
        url = URL(webhook.url, encoded=True)
        post = self._opened().post(url, data=webhook.body, headers=webhook.headers, allow_redirects=False)
        async with post as answer:
            return answer.status

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A new connection each time: one kept alive may be closed under us, and a lost POST is not sent again.
            connector = aiohttp.TCPConnector(force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        return self._session

    def _write(
        self, webhook: Webhook, verdict: Verdict, attempt: int, *, status: int | None = None, detail: str | None = None
    ) -> None:
        self.journal.write(
            Entry(
                simulator=self.simulator,
                direction=Direction.WEBHOOK,
                method="POST",
                path=webhook.url,
                headers=webhook.headers,
                body=webhook.body,
                verdict=verdict,
                status=status,
                to=webhook.to,
                message_id=webhook.message_id,
                webhook_id=webhook.id,
                attempt=attempt,
                detail=detail,
            )
        )


# Events that a provider can be told to send, by name, with a description and parameters.


Order = TypeVar("Order", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `make` does it and gives the signed webhook that tells of it; raises like an action."""

    words: str
    parameters: Sequence[str]
    make: Callable[[Mapping[str, Any]], Webhook]


class AboutOrder(BaseModel, frozen=True, extra="forbid"):
    """Which message it is about, by the provider's id: the newest that was sent when none is named."""

    message: str | None = Field(None, min_length=1, max_length=256)


# pydantic → ours. https://docs.pydantic.dev/latest/errors/validation_errors/
_EXPLANATIONS: Mapping[str, str] = {
    "missing": "it has to be given",
    "extra_forbidden": "nothing of this name is taken here",
    "string_type": "give text",
    "string_too_short": "give at least {min_length} characters",
    "string_too_long": "give at most {max_length} characters",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "finite_number": "give a number that is not endless",
    "bool_type": "say true or false",
    "bool_parsing": "say true or false",
    "list_type": "give a list",
    "dict_type": "give an object",
    "enum": "choose one of {expected}",
    "literal_error": "choose one of {expected}",
    "greater_than": "give a number above {gt}",
    "greater_than_equal": "give a number from {ge} on",
    "less_than": "give a number below {lt}",
    "less_than_equal": "give a number up to {le}",
    "too_long": "give at most {max_length} of them",
    "too_short": "give at least {min_length} of them",
    "datetime_parsing": "give a moment like 2026-12-01T09:30:00Z",
    "timezone_aware": "give a moment with its offset from UTC, like 2026-12-01T09:30:00Z",
}
_PATTERN_ERROR = "worded"


def matching(pattern: str, words: str) -> AfterValidator:
    """Take text that matches a pattern; what does not is refused with words that say how it is written."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise PydanticCustomError(_PATTERN_ERROR, "{words}", {"words": words})
        return text

    return AfterValidator(check)


def explain_validation_error(error: ValidationError) -> tuple[str, str | None]:
    """Say the first thing that is wrong with an order in plain words, and which input is at fault."""
    first = error.errors(include_url=False)[0]
    field, kind, places = ".".join(map(str, first["loc"])) or None, first["type"], first.get("ctx", {})
    if kind == _PATTERN_ERROR:
        return str(places["words"]), field
    if kind == "value_error":
        return str(places["error"]), field
    return _EXPLANATIONS.get(kind, "this is not written as it is expected here").format_map(places), field


def event(words: str, order: type[Order], make: Callable[[Order], Webhook]) -> Event:
    """An event that takes what the fields of an order say."""
    return Event(words, tuple(order.model_fields), lambda given: make(order.model_validate(given)))
