"""Operators' mutations: requeue and discard dead letters, replay webhooks, reset circuits."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import strawberry

from core.errors import AppError, InputRule, InvalidInput, NotConfigured, NotFound
from core.inbox.closing import replay_webhooks
from core.operations import requeue
from core.ports.identity import Scope
from core.words import say
from resolvers.context import Info
from resolvers.errors import OperateError, operate_error, unavailable
from resolvers.global_ids import uuid_of
from resolvers.integrations import Integration, IntegrationKind, integration_of
from resolvers.operations.dead_letters import DeadLetter, dead_letters_by_id
from resolvers.operations.webhooks import WebhookDelivery, webhook_by_id

MOST_IDS = 100


@strawberry.input(description="The dead letters to put back in their queue.")
class RequeueDeadLettersInput:
    ids: list[strawberry.ID] = strawberry.field(description="1 to 100 ids.")


@strawberry.type(description="The dead letters that are back in their queue, and errors for the others.")
class RequeueDeadLettersPayload:
    dead_letters: list[DeadLetter]
    errors: list[OperateError]


@strawberry.input(description="The dead letters to discard.")
class DiscardDeadLettersInput:
    ids: list[strawberry.ID] = strawberry.field(description="1 to 100 ids.")


@strawberry.type(description="The discarded dead letters, and errors for the others.")
class DiscardDeadLettersPayload:
    dead_letters: list[DeadLetter]
    errors: list[OperateError]


@strawberry.input(description="The webhook to process again.")
class ReplayWebhookInput:
    id: strawberry.ID


@strawberry.type(description="The webhook, which now waits to be processed, or why it does not.")
class ReplayWebhookPayload:
    delivery: WebhookDelivery | None
    errors: list[OperateError]


async def requeue_dead_letters(info: Info, input: RequeueDeadLettersInput) -> RequeueDeadLettersPayload:
    services, principal = info.context.services, info.context.require(Scope.OPERATIONS_WRITE)
    ids, tenant = _keys(input.ids), principal.tenant_id
    async with services.database.transaction(tenant) as connection:
        done = await requeue.requeue_dead_letters(
            services.installation, services.subjects, connection, tenant, _known(ids), principal.reach
        )
        await info.context.act.done(connection, "DeadLetter", _done(done.refusals))
    for then in done.then:
        await then()
    letters = await dead_letters_by_id(info, tenant, _done(done.refusals))
    return RequeueDeadLettersPayload(dead_letters=letters, errors=_errors(info, input.ids, ids, done.refusals))


async def discard_dead_letters(info: Info, input: DiscardDeadLettersInput) -> DiscardDeadLettersPayload:
    services, tenant = info.context.services, info.context.require(Scope.OPERATIONS_WRITE).tenant_id
    ids = _keys(input.ids)
    async with services.database.transaction(tenant) as connection:
        refusals = await requeue.discard_dead_letters(connection, services.subjects, tenant, _known(ids))
        await info.context.act.done(connection, "DeadLetter", _done(refusals))
    letters = await dead_letters_by_id(info, tenant, _done(refusals))
    return DiscardDeadLettersPayload(dead_letters=letters, errors=_errors(info, input.ids, ids, refusals))


async def replay_webhook(info: Info, input: ReplayWebhookInput) -> ReplayWebhookPayload:
    services, tenant = info.context.services, info.context.require(Scope.OPERATIONS_WRITE).tenant_id
    webhook = uuid_of(input.id, "WebhookDelivery")
    refusal: AppError | None = NotFound(say("WEBHOOK_NOT_FOUND", "There is no such webhook."))
    if webhook is not None:
        async with services.database.transaction(tenant) as connection:
            refusal = (await replay_webhooks(connection, tenant, [webhook]))[webhook]
            await info.context.act.done(connection, "WebhookDelivery", [] if refusal else [webhook])
    if webhook is None or refusal is not None:
        error = operate_error(
            info, refusal or NotFound(say("WEBHOOK_NOT_FOUND", "There is no such webhook.")), input.id, ["input", "id"]
        )
        return ReplayWebhookPayload(delivery=None, errors=[error])
    return ReplayWebhookPayload(delivery=await webhook_by_id(info, tenant, webhook), errors=[])


def _keys(ids: Sequence[strawberry.ID]) -> Sequence[UUID | None]:
    """The keys behind ids, in their order; None for what is no dead letter's id. Raises InvalidInput."""
    if not 1 <= len(ids) <= MOST_IDS:
        rule = InputRule.TOO_LONG if ids else InputRule.REQUIRED
        text = say("IDS_COUNT", "Give 1 to {most} ids.", most=MOST_IDS)
        raise InvalidInput(text, path=["input", "ids"], rule=rule)
    return [uuid_of(one, "DeadLetter") for one in ids]


def _known(keys: Sequence[UUID | None]) -> list[UUID]:
    return [key for key in dict.fromkeys(keys) if key is not None]


def _done(refusals: Mapping[UUID, AppError | None]) -> list[UUID]:
    return [key for key, refusal in refusals.items() if refusal is None]


def _errors(
    info: Info, ids: Sequence[strawberry.ID], keys: Sequence[UUID | None], refusals: Mapping[UUID, AppError | None]
) -> list[OperateError]:
    unknown = NotFound(say("DEAD_LETTER_NOT_FOUND", "There is no such dead letter."))
    return [
        operate_error(info, refusal, id, ["input", "ids", str(place)])
        for place, (id, key) in enumerate(zip(ids, keys, strict=True))
        if (refusal := unknown if key is None else refusals[key]) is not None
    ]


# Resetting a circuit.


@strawberry.input(description="The circuit to reset.")
class ResetCircuitInput:
    kind: IntegrationKind


@strawberry.type(description="The integration with its circuit closed, or why there is no circuit to reset.")
class ResetCircuitPayload:
    integration: Integration | None
    errors: list[OperateError]


async def reset_circuit(info: Info, input: ResetCircuitInput) -> ResetCircuitPayload:
    principal, name = info.context.require(Scope.OPERATIONS_WRITE), input.kind.value
    integration = integration_of(info, name)
    if info.context.services.integrations[name].mode is None:
        words = say(
            "NOTHING_TO_RESET",
            "{name} is not configured on this server, so there is no circuit to reset. Run `interalpha check`.",
            name=integration.name,
        )
        refusal = NotConfigured(words, integration=name, path=["input", "kind"])
        return ResetCircuitPayload(integration=None, errors=[unavailable(info, refusal)])
    await info.context.services.circuits.reset(name, by=principal.subject)
    async with info.context.services.database.transaction(principal.tenant_id) as connection:
        await info.context.act.done(connection, "Integration", [name])
    return ResetCircuitPayload(integration=integration, errors=[])
