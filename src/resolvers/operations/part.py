"""What operations add to the schema: integrations, the dashboard, webhooks, dead letters and the audit log."""

from collections.abc import AsyncGenerator, Mapping, Sequence

import strawberry

from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, guarded, guarded_stream
from resolvers.global_ids import uuids
from resolvers.integrations import Integration, integration_of, list_integrations
from resolvers.operations.audit import AuditEvent, AuditEventConnection, audit_events_by_id, list_audit_events
from resolvers.operations.dashboard import Dashboard, dashboard_updated, get_dashboard
from resolvers.operations.dead_letters import DeadLetter, DeadLetterConnection, dead_letters_by_id, list_dead_letters
from resolvers.operations.mutations import (
    DiscardDeadLettersPayload,
    ReplayWebhookPayload,
    RequeueDeadLettersPayload,
    ResetCircuitPayload,
    discard_dead_letters,
    replay_webhook,
    requeue_dead_letters,
    reset_circuit,
)
from resolvers.operations.subscriptions import IntegrationHealthChange, integration_health_changed
from resolvers.operations.webhooks import WebhookDelivery, WebhookDeliveryConnection, list_webhooks, webhooks_by_id
from resolvers.parts import SchemaPart


@strawberry.type
class Queries:
    """Root fields of queries."""

    integrations: list[Integration] = guarded(
        list_integrations,
        Scope.OPERATIONS_READ,
        "All integrations.",
    )
    dashboard: Dashboard = guarded(
        get_dashboard,
        Scope.OPERATIONS_READ,
        "The key figures of the business.",
    )
    webhook_deliveries: WebhookDeliveryConnection = guarded(
        list_webhooks,
        Scope.OPERATIONS_READ,
        "Webhooks from providers, newest first.",
    )
    dead_letters: DeadLetterConnection = guarded(
        list_dead_letters,
        Scope.OPERATIONS_READ,
        "Failed work that waits for a decision, newest first.",
    )
    audit_events: AuditEventConnection = guarded(
        list_audit_events,
        Scope.OPERATIONS_READ,
        "The audit log, newest first. Events are never changed.",
    )


@strawberry.type
class Mutations:
    """Root fields of mutations."""

    reset_circuit: ResetCircuitPayload = guarded(
        reset_circuit,
        Scope.OPERATIONS_WRITE,
        "Close an integration's circuit breaker and clear its failures. Use it after the cause is fixed.",
    )
    requeue_dead_letters: RequeueDeadLettersPayload = guarded(
        requeue_dead_letters,
        Scope.OPERATIONS_WRITE,
        "Put failed work back in its queue. Work that the provider may already have done is refused.",
    )
    discard_dead_letters: DiscardDeadLettersPayload = guarded(
        discard_dead_letters,
        Scope.OPERATIONS_WRITE,
        "Discard failed work for good.",
    )
    replay_webhook: ReplayWebhookPayload = guarded(
        replay_webhook,
        Scope.OPERATIONS_WRITE,
        "Process a webhook again as if it had just arrived. Changes that it already made are not repeated.",
    )


@strawberry.type
class Subscriptions:
    """Root fields of subscriptions."""

    integration_health_changed: AsyncGenerator[IntegrationHealthChange, None] = guarded_stream(
        integration_health_changed,
        Scope.OPERATIONS_READ,
        "The health of integrations: the current state first, then each change.",
    )
    dashboard_updated: AsyncGenerator[Dashboard, None] = guarded_stream(
        dashboard_updated,
        Scope.OPERATIONS_READ,
        (
            "The figures now, and again after each change, at most once in `everySeconds` (1 to 3600; less often "
            "if counting takes long)."
        ),
    )


async def _fetch_integrations(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.OPERATIONS_READ)
    names = {key: key.decode(errors="replace") for key in keys}
    known = info.context.services.integrations
    return {key: integration_of(info, name) for key, name in names.items() if name in known}


async def _fetch_webhooks(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    found = await webhooks_by_id(info, tenant, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: webhook for one, webhook in found.items()}


async def _fetch_dead_letters(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    found = await dead_letters_by_id(info, tenant, ids) if (ids := uuids(keys)) else []
    return {letter.row.id.bytes: letter for letter in found}


async def _fetch_audit_events(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.OPERATIONS_READ)
    found = await audit_events_by_id(info, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: event for one, event in found.items()}


PART = SchemaPart(
    queries=Queries,
    mutations=Mutations,
    subscriptions=Subscriptions,
    types=[Integration, WebhookDelivery, DeadLetter, AuditEvent],
    nodes={
        "Integration": _fetch_integrations,
        "WebhookDelivery": _fetch_webhooks,
        "DeadLetter": _fetch_dead_letters,
        "AuditEvent": _fetch_audit_events,
    },
)
