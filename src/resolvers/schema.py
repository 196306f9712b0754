"""The schema: every entry point, and its printed form."""

from collections.abc import AsyncGenerator

import strawberry
from graphql import GraphQLInputObjectType, GraphQLSchema
from graphql.utilities.print_schema import print_schema_definition
from strawberry.schema import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from core.ports.principal import Scope
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
from resolvers.scalars import CONFIG
from resolvers.templates.queries import TemplateConnection, get_template, list_templates
from resolvers.templates.types import Template

INTRODUCTION = """\
One API for everything the business says, charges and schedules through other
companies. Today it sends WhatsApp texts and templates, SMS and e-mail, and tells live
what becomes of them.

* Every object worth a link implements `Node`: refetch it with `node(id:)`.
* Every list that can grow is a connection; pages hold 25 items unless `first`
  or `last` says otherwise, and never more than 100.
* What a person can do something about is data: each mutation answers with a
  payload whose `errors` are typed. The top-level `errors` are for bugs, limits
  and missing credentials, each with `extensions.code`.
* Times are UTC. Enums may gain values: treat one you do not know as you would
  the calmest you do."""


@strawberry.type(description="What can be read.")
class Query:
    node: Node | None = strawberry.field(
        resolver=get_node, description="Any object by its id; null when there is none the caller may see."
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=get_nodes,
        description="Up to 100 objects by their ids, in the order given; null for each there is not.",
    )
    viewer: Viewer | None = strawberry.field(
        resolver=get_viewer, description="Who is asking; null without credentials."
    )
    integrations: list[Integration] = guarded(
        list_integrations,
        Scope.OPERATIONS_READ,
        "The companies we work through. There are few, and all of them are here.",
    )
    dashboard: Dashboard = guarded(
        get_dashboard,
        Scope.OPERATIONS_READ,
        "How the business does, at a glance.",
    )
    message: Message | None = guarded(
        get_message,
        Scope.MESSAGES_READ,
        "One message; null when there is none the caller may see.",
    )
    messages: MessageConnection = guarded(
        list_messages,
        Scope.MESSAGES_READ,
        "Message history, newest first.",
    )
    template: Template | None = guarded(
        get_template,
        Scope.MESSAGES_READ,
        "One template; null when there is none the caller may see.",
    )
    templates: TemplateConnection = guarded(
        list_templates,
        Scope.MESSAGES_READ,
        "Texts agreed beforehand, newest first: ours, and those companies keep.",
    )
    webhook_deliveries: WebhookDeliveryConnection = guarded(
        list_webhooks,
        Scope.OPERATIONS_READ,
        "What companies told us, newest first.",
    )
    dead_letters: DeadLetterConnection = guarded(
        list_dead_letters,
        Scope.OPERATIONS_READ,
        "Work that was given up and waits for somebody to decide, newest first.",
    )
    audit_events: AuditEventConnection = guarded(
        list_audit_events,
        Scope.OPERATIONS_READ,
        "Who did what, newest first: written with each act, and never changed.",
    )
    message_batch: MessageBatch | None = guarded(
        get_batch,
        Scope.MESSAGES_READ,
        "Messages that were handed in together; null when there is no such batch the caller may see.",
    )
    api_keys: ApiKeyConnection = guarded(
        list_api_keys,
        Scope.OPERATIONS_READ,
        "The keys servers call with, newest first; those that were revoked or have expired, too.",
    )


@strawberry.type(description="What can be done. Fields run one after another, in the order written.")
class Mutation:
    send_message: SendMessagePayload = guarded(
        send_message,
        Scope.MESSAGES_SEND,
        "Send one message, over one channel or a chain of them.",
    )
    send_messages: SendMessagesPayload = guarded(
        send_messages,
        Scope.MESSAGES_SEND,
        "Send up to 500 messages, each judged by itself.",
    )
    cancel_message: CancelMessagePayload = guarded(
        cancel_message,
        Scope.MESSAGES_SEND,
        "Stop a message that has not gone out.",
    )
    cancel_message_batch: CancelMessageBatchPayload = guarded(
        cancel_message_batch,
        Scope.MESSAGES_SEND,
        "Stop all messages of a batch that have not gone out.",
    )
    retry_message: RetryMessagePayload = guarded(
        retry_message,
        Scope.MESSAGES_SEND,
        "Try a failed message again, with a new budget of tries.",
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
        "Close an integration's circuit breaker and forget its failures, once their cause is mended.",
    )
    requeue_dead_letters: RequeueDeadLettersPayload = guarded(
        requeue_dead_letters,
        Scope.OPERATIONS_WRITE,
        "Put work back in its queue. What a company perhaps did already is refused.",
    )
    discard_dead_letters: DiscardDeadLettersPayload = guarded(
        discard_dead_letters,
        Scope.OPERATIONS_WRITE,
        "Give up on work for good.",
    )
    replay_webhook: ReplayWebhookPayload = guarded(
        replay_webhook,
        Scope.OPERATIONS_WRITE,
        "Process a webhook again as if it had just come; what it did already it does not do twice.",
    )
    create_api_key: CreateApiKeyPayload = guarded(
        create_api_key,
        Scope.OPERATIONS_WRITE,
        "Make a key for a server, with no right its maker lacks. What it says is shown this once.",
    )
    revoke_api_key: RevokeApiKeyPayload = guarded(
        revoke_api_key,
        Scope.OPERATIONS_WRITE,
        "Let a key let nobody in any more, for good; sockets and streams it has open end within seconds.",
    )
    erase_recipient: EraseRecipientPayload = guarded(
        erase_recipient,
        Scope.OPERATIONS_WRITE,
        "Take out everything that says who somebody is and what was said to them or by them, and stop what waits to go"
        " to them. What happened and when stays. It is carried out by the worker: follow the erasure. It does not keep"
        " anybody from writing to them again.",
    )


@strawberry.type(description="Over WebSocket (`graphql-transport-ws`) or Server-Sent Events.")
class Subscription:
    message_status_changed: AsyncGenerator[MessageStatusChange, None] = guarded_stream(
        message_status_changed,
        Scope.MESSAGES_READ,
        "Messages changing status: all of them, or those that fit the filter. For messages named by id the"
        " present state comes first; with `after`, what was missed since that cursor, if it is of the last"
        " hour (else `CURSOR_EXPIRED`).",
    )
    integration_health_changed: AsyncGenerator[IntegrationHealthChange, None] = guarded_stream(
        integration_health_changed,
        Scope.OPERATIONS_READ,
        "The health of integrations: the present state first, then each change.",
    )
    dashboard_updated: AsyncGenerator[Dashboard, None] = guarded_stream(
        dashboard_updated,
        Scope.OPERATIONS_READ,
        "The numbers now, and anew when they have changed, once in `everySeconds` at most (from 1 to 3600;"
        " less often where counting takes long).",
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
