"""The schema: every entry point, and its printed form."""

from collections.abc import AsyncGenerator

import strawberry
from graphql import GraphQLInputObjectType, GraphQLSchema
from graphql.utilities.print_schema import print_schema_definition
from strawberry.schema import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter

from resolvers.access.queries import get_viewer
from resolvers.access.types import Organization, User, Viewer
from resolvers.audit import audit_mutations
from resolvers.errors import (
    IdempotencyConflictError,
    IntegrationUnavailableError,
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    TemplateNotUsableError,
)
from resolvers.messages.batches import MessageBatch, get_batch
from resolvers.messages.changes import CancelMessagePayload, RetryMessagePayload, cancel_message, retry_message
from resolvers.messages.events import MessageEvent
from resolvers.messages.mutations import SendMessagePayload, SendMessagesPayload, send_message, send_messages
from resolvers.messages.queries import MessageConnection, get_message, list_messages
from resolvers.messages.subscriptions import MessageStatusChange, message_status_changed
from resolvers.messages.types import Message, MessageAttempt
from resolvers.node import Node
from resolvers.operations.audit import AuditEvent, AuditEventConnection, list_audit_events
from resolvers.operations.dashboard import Dashboard, dashboard_updated, get_dashboard
from resolvers.operations.dead_letters import DeadLetter, DeadLetterConnection, list_dead_letters
from resolvers.operations.mutations import (
    DiscardDeadLettersPayload,
    ReplayWebhookPayload,
    RequeueDeadLettersPayload,
    discard_dead_letters,
    replay_webhook,
    requeue_dead_letters,
)
from resolvers.operations.resets import ResetCircuitPayload, reset_circuit
from resolvers.operations.subscriptions import IntegrationHealthChange, integration_health_changed
from resolvers.operations.types import Integration, list_integrations
from resolvers.operations.webhooks import WebhookDelivery, WebhookDeliveryConnection, list_webhooks
from resolvers.privacy.erasures import EraseRecipientPayload, Erasure, erase_recipient
from resolvers.refetch import get_node
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
    viewer: Viewer | None = strawberry.field(
        resolver=get_viewer, description="Who is asking; null without credentials."
    )
    integrations: list[Integration] = strawberry.field(
        resolver=list_integrations,
        description="The companies we work through. There are few, and all of them are here. Needs `OPERATIONS_READ`.",
    )
    dashboard: Dashboard = strawberry.field(
        resolver=get_dashboard,
        description="How the business does, at a glance. Needs `OPERATIONS_READ`.",
    )
    message: Message | None = strawberry.field(
        resolver=get_message,
        description="One message; null when there is none the caller may see. Needs `MESSAGES_READ`.",
    )
    messages: MessageConnection = strawberry.field(
        resolver=list_messages, description="Message history, newest first. Needs `MESSAGES_READ`."
    )
    template: Template | None = strawberry.field(
        resolver=get_template,
        description="One template; null when there is none the caller may see. Needs `MESSAGES_READ`.",
    )
    templates: TemplateConnection = strawberry.field(
        resolver=list_templates,
        description="Texts agreed beforehand, newest first: ours, and those companies keep. Needs `MESSAGES_READ`.",
    )
    webhook_deliveries: WebhookDeliveryConnection = strawberry.field(
        resolver=list_webhooks, description="What companies told us, newest first. Needs `OPERATIONS_READ`."
    )
    dead_letters: DeadLetterConnection = strawberry.field(
        resolver=list_dead_letters,
        description="Work that was given up and waits for somebody to decide, newest first. Needs `OPERATIONS_READ`.",
    )
    audit_events: AuditEventConnection = strawberry.field(
        resolver=list_audit_events,
        description="Who did what, newest first: written with each act, and never changed. Needs `OPERATIONS_READ`.",
    )
    message_batch: MessageBatch | None = strawberry.field(
        resolver=get_batch,
        description="Messages that were handed in together; null when there is no such batch the caller may see."
        " Needs `MESSAGES_READ`.",
    )


@strawberry.type(description="What can be done. Fields run one after another, in the order written.")
class Mutation:
    send_message: SendMessagePayload = strawberry.field(
        resolver=send_message,
        description="Send one message, over one channel or a chain of them. Needs `MESSAGES_SEND`.",
    )
    send_messages: SendMessagesPayload = strawberry.field(
        resolver=send_messages,
        description="Send up to 500 messages, each judged by itself. Needs `MESSAGES_SEND`.",
    )
    cancel_message: CancelMessagePayload = strawberry.field(
        resolver=cancel_message,
        description="Stop a message that has not gone out. Needs `MESSAGES_SEND`.",
    )
    retry_message: RetryMessagePayload = strawberry.field(
        resolver=retry_message,
        description="Try a failed message again, with a new budget of tries. Needs `MESSAGES_SEND`.",
    )
    reset_circuit: ResetCircuitPayload = strawberry.field(
        resolver=reset_circuit,
        description="Close an integration's circuit breaker and forget its failures, once their cause is mended."
        " Needs `OPERATIONS_WRITE`.",
    )
    requeue_dead_letters: RequeueDeadLettersPayload = strawberry.field(
        resolver=requeue_dead_letters,
        description="Put work back in its queue. What a company perhaps did already is refused."
        " Needs `OPERATIONS_WRITE`.",
    )
    discard_dead_letters: DiscardDeadLettersPayload = strawberry.field(
        resolver=discard_dead_letters, description="Give up on work for good. Needs `OPERATIONS_WRITE`."
    )
    replay_webhook: ReplayWebhookPayload = strawberry.field(
        resolver=replay_webhook,
        description="Process a webhook again as if it had just come; what it did already it does not do twice."
        " Needs `OPERATIONS_WRITE`.",
    )
    erase_recipient: EraseRecipientPayload = strawberry.field(
        resolver=erase_recipient,
        description="Take out everything that says who somebody is and what was said to them or by them, and stop what"
        " waits to go to them. What happened and when stays. It is carried out by the worker: follow the erasure. It"
        " does not keep anybody from writing to them again. Needs `OPERATIONS_WRITE`.",
    )


@strawberry.type(description="Over WebSocket (`graphql-transport-ws`) or Server-Sent Events.")
class Subscription:
    message_status_changed: AsyncGenerator[MessageStatusChange, None] = strawberry.subscription(
        resolver=message_status_changed,
        description="Messages changing status: all of them, or those that fit the filter. For messages named by id the"
        " present state comes first; with `after`, what was missed since that cursor, if it is of the last hour (else"
        " `CURSOR_EXPIRED`). Needs `MESSAGES_READ`.",
    )
    integration_health_changed: AsyncGenerator[IntegrationHealthChange, None] = strawberry.subscription(
        resolver=integration_health_changed,
        description="The health of integrations: the present state first, then each change. Needs `OPERATIONS_READ`.",
    )
    dashboard_updated: AsyncGenerator[Dashboard, None] = strawberry.subscription(
        resolver=dashboard_updated,
        description="The numbers now, and anew when they have changed, once in `everySeconds` at most (from 1 to 3600;"
        " less often where counting takes long). Needs `OPERATIONS_READ`.",
    )


def build_schema() -> Schema:
    """Make the schema. Nodes and errors are named here since no field returns some of them by their own type."""
    schema = Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[
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
