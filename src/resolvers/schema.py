"""The schema: all entry points, and its printed form."""

from collections.abc import AsyncGenerator

import strawberry
from graphql import GraphQLInputObjectType, GraphQLSchema
from graphql.utilities.print_schema import print_schema_definition
from strawberry.schema import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from core.ports.identity import Scope
from resolvers.access.api_keys import (
    ApiKeyConnection,
    CreateApiKeyPayload,
    RevokeApiKeyPayload,
    create_api_key,
    list_api_keys,
    revoke_api_key,
)
from resolvers.access.queries import get_viewer
from resolvers.access.types import ApiKey, Organization, User, Viewer
from resolvers.audit import audit_mutations
from resolvers.building import build_by_plan
from resolvers.errors import (
    IdempotencyConflictError,
    IntegrationUnavailableError,
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    TemplateNotUsableError,
)
from resolvers.fields import Node, guarded, guarded_stream, hold_to_scopes
from resolvers.integrations import Integration, list_integrations
from resolvers.messages.mutations import (
    CancelMessageBatchPayload,
    CancelMessagePayload,
    RetryMessagePayload,
    SendMessagePayload,
    SendMessagesPayload,
    SettleMessagePayload,
    cancel_message,
    cancel_message_batch,
    retry_message,
    send_message,
    send_messages,
    settle_message,
)
from resolvers.messages.queries import MessageBatch, MessageConnection, get_batch, get_message, list_messages
from resolvers.messages.subscriptions import MessageStatusChange, message_status_changed
from resolvers.messages.types import Message, MessageAttempt, MessageEvent
from resolvers.nodes import get_node, get_nodes
from resolvers.operations.audit import AuditEvent, AuditEventConnection, list_audit_events
from resolvers.operations.dashboard import Dashboard, dashboard_updated, get_dashboard
from resolvers.operations.dead_letters import DeadLetter, DeadLetterConnection, list_dead_letters
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
from resolvers.operations.webhooks import WebhookDelivery, WebhookDeliveryConnection, list_webhooks
from resolvers.privacy.erasures import EraseRecipientPayload, Erasure, erase_recipient
from resolvers.problems.queries import Problem, ProblemConnection, list_problems
from resolvers.scalars import CONFIG
from resolvers.templates.types import Template, TemplateConnection, get_template, list_templates

INTRODUCTION = """\
One API for everything a business says, charges and schedules through external
providers. Today it sends WhatsApp texts and templates, SMS and e-mail, and reports
live what happens to them.

* Objects with an id implement `Node`: fetch one again with `node(id:)`.
* Every list that can grow is a connection. A page has 25 items unless `first`
  or `last` says otherwise, and at most 100.
* Errors that a person can fix are data: each mutation returns a payload with
  typed `errors`. The top-level `errors` are for bugs, limits and missing
  credentials; each has an `extensions.code`.
* Times are UTC. Enums may get new values: handle values that you do not know
  with a safe default."""


@strawberry.type(description="All queries.")
class Query:
    node: Node | None = strawberry.field(
        resolver=get_node, description="Any object by its id. Null if it does not exist or you may not see it."
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=get_nodes,
        description=(
            "Up to 100 objects by their ids, in the given order. Null for each that does not exist or that you may "
            "not see."
        ),
    )
    viewer: Viewer | None = strawberry.field(resolver=get_viewer, description="The caller. Null without credentials.")
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
    message: Message | None = guarded(
        get_message,
        Scope.MESSAGES_READ,
        "One message. Null if it does not exist or you may not see it.",
    )
    messages: MessageConnection = guarded(
        list_messages,
        Scope.MESSAGES_READ,
        "Message history, newest first.",
    )
    template: Template | None = guarded(
        get_template,
        Scope.MESSAGES_READ,
        "One template. Null if it does not exist or you may not see it.",
    )
    templates: TemplateConnection = guarded(
        list_templates,
        Scope.MESSAGES_READ,
        "Message templates, newest first: our own, and those that providers store.",
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
    problems: ProblemConnection = guarded(
        list_problems,
        Scope.OPERATIONS_READ,
        "Conditions that need an operator, the newest first.",
    )
    audit_events: AuditEventConnection = guarded(
        list_audit_events,
        Scope.OPERATIONS_READ,
        "The audit log, newest first. Events are never changed.",
    )
    message_batch: MessageBatch | None = guarded(
        get_batch,
        Scope.MESSAGES_READ,
        "One batch of messages. Null if it does not exist or you may not see it.",
    )
    api_keys: ApiKeyConnection = guarded(
        list_api_keys,
        Scope.OPERATIONS_READ,
        "API keys, newest first, including revoked and expired ones.",
    )


@strawberry.type(description="All mutations. Fields run one after another, in the order of the document.")
class Mutation:
    send_message: SendMessagePayload = guarded(
        send_message,
        Scope.MESSAGES_SEND,
        "Send one message over one channel, or over several with fallbacks.",
    )
    send_messages: SendMessagesPayload = guarded(
        send_messages,
        Scope.MESSAGES_SEND,
        "Send up to 500 messages. Each is checked separately.",
    )
    cancel_message: CancelMessagePayload = guarded(
        cancel_message,
        Scope.MESSAGES_SEND,
        "Cancel a message that was not sent yet.",
    )
    cancel_message_batch: CancelMessageBatchPayload = guarded(
        cancel_message_batch,
        Scope.MESSAGES_SEND,
        "Cancel all messages of a batch that were not sent yet.",
    )
    retry_message: RetryMessagePayload = guarded(
        retry_message,
        Scope.MESSAGES_SEND,
        "Retry a failed message, with a full number of new tries.",
    )
    settle_message: SettleMessagePayload = guarded(
        settle_message,
        Scope.OPERATIONS_WRITE,
        "Settle an unconfirmed message by hand. Look it up with the provider first: `RESEND` may send it twice, and"
        " `SENT` or `FAILED` may be wrong. A report that arrives later still applies.",
    )
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
    create_api_key: CreateApiKeyPayload = guarded(
        create_api_key,
        Scope.OPERATIONS_WRITE,
        "Create an API key for a server, with scopes that you have yourself. Its secret is shown only once.",
    )
    revoke_api_key: RevokeApiKeyPayload = guarded(
        revoke_api_key,
        Scope.OPERATIONS_WRITE,
        "Revoke an API key for good. Its open sockets and streams end within seconds.",
    )
    erase_recipient: EraseRecipientPayload = guarded(
        erase_recipient,
        Scope.OPERATIONS_WRITE,
        (
            "Erase the addresses and contents of all messages to and from a person, and cancel messages that wait. "
            "Statuses and times stay. A worker carries it out: follow the erasure. It does not block new messages "
            "to the person."
        ),
    )


@strawberry.type(description="Over WebSocket (`graphql-transport-ws`) or Server-Sent Events.")
class Subscription:
    message_status_changed: AsyncGenerator[MessageStatusChange, None] = guarded_stream(
        message_status_changed,
        Scope.MESSAGES_READ,
        (
            "Status changes of messages that match the filter. For messages given by id, the current state comes "
            "first. With `after`, the changes since that cursor come first; a cursor is valid for one hour (then "
            "`CURSOR_EXPIRED`)."
        ),
    )
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


def build_schema() -> Schema:
    """Make the schema. Nodes and errors are named here since no field returns some of them by their own type."""
    schema = Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[
            ApiKey,
            Integration,
            Message,
            MessageAttempt,
            MessageBatch,
            MessageEvent,
            Organization,
            Template,
            WebhookDelivery,
            DeadLetter,
            Problem,
            AuditEvent,
            Erasure,
            User,
            InvalidInputError,
            InvalidStateError,
            NotFoundError,
            IntegrationUnavailableError,
            IdempotencyConflictError,
            TemplateNotUsableError,
        ],
        config=CONFIG,
    )
    # Strawberry has no word for the description of a whole schema.
    schema._schema.description = INTRODUCTION
    _mark_one_of(schema._schema)
    build_by_plan(schema)
    hold_to_scopes(schema._schema)
    # Around all else: what was refused for want of a scope is told, too.
    audit_mutations(schema._schema)
    return schema


def _mark_one_of(schema: GraphQLSchema) -> None:
    """Tell graphql-core which inputs are `@oneOf`, so that validation refuses them: Strawberry waits for execution."""
    for one in schema.type_map.values():
        if isinstance(one, GraphQLInputObjectType):
            definition = one.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            one.is_one_of = definition is not None and definition.is_one_of


def print_schema() -> str:
    """The schema as it is promised to clients."""
    schema = build_schema()
    definition = print_schema_definition(schema._schema)
    return f"{definition}\n\n{schema.as_str().strip()}\n"
