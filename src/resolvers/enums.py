"""Core's enums as GraphQL enums."""

from enum import StrEnum

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

from core.access.api_key_lookup import KeyKind
from core.audit.act import ActOutcome
from core.dead_letters.store import Resolution
from core.errors import FailureParty, FailureReason, InputRule
from core.inbox.tables import WebhookStatus
from core.messages.commands import Decision
from core.messages.status import (
    AttemptOutcome,
    Direction,
    EventSource,
    MessageStatus,
    RouteGoal,
    RouteOutcome,
    UnconfirmedPolicy,
)
from core.operations.dashboard import TimeWindow
from core.operations.health import CredentialStatus, HealthStatus
from core.ports import Channel, Mode, Severity, TemplateApproval, TemplateCategory
from core.ports.identity import ActorKind, Scope
from core.providers.circuit import CircuitState


def _publish(words: type[StrEnum], name: str, description: str, **values: str) -> None:
    """Declare a StrEnum of core as a GraphQL enum; `values` describes those of its values that need words."""
    strawberry.enum(words, name=name, description=description)
    definition: StrawberryEnumDefinition = words.__strawberry_definition__  # type: ignore[attr-defined]
    by_name = {value.name: value for value in definition.values}
    for value, text in values.items():
        by_name[value].description = text


_publish(Scope, "Scope", "What credentials allow the caller to do.")
_publish(
    KeyKind,
    "ApiKeyKind",
    "Which recipients the messages of a key may reach.",
    LIVE="Every recipient.",
    ALLOW_LIST="Only the recipients of its allow list. Use it for staging.",
    TEST="No real recipient: messages go to simulators, or are refused where a provider has no simulator.",
)
_publish(
    ActorKind,
    "ActorKind",
    "The kind of caller that performed an action.",
    PERSON="A person who has signed in.",
    KEY="A server, with an API key.",
    CLI="A command on the server.",
    DEVELOPMENT="A caller with a development token.",
    SYSTEM="The system itself, when it carries out an earlier request.",
)
_publish(ActOutcome, "AuditOutcome", "Whether the action was done or refused.")
_publish(InputRule, "InputRule", "The rules that an argument can break.")
_publish(Channel, "Channel", "A channel to reach a person.")
_publish(
    Mode,
    "IntegrationMode",
    "Whether calls reach the real provider.",
    SANDBOX="The provider's test environment.",
    SIMULATED="A simulator: nothing leaves this server.",
)
_publish(
    CircuitState,
    "CircuitState",
    "`CLOSED` allows calls, `OPEN` stops them, `HALF_OPEN` allows one trial call.",
)
_publish(Direction, "MessageDirection", "Whether the message is outbound or inbound.")
_publish(
    MessageStatus,
    "MessageStatus",
    "Where a message stands. It only moves forward: a late or repeated report is kept\n"
    "as an event and never takes a status back. `FAILED` may follow anything up to\n"
    "`SENT`; proof of delivery outranks `FAILED`; a retry brings it back to `QUEUED`.",
    QUEUED="Waiting for a worker or for its next attempt: see `nextAttemptAt`.",
    UNCONFIRMED="The request may or may not have reached the provider. It is not sent again blindly: a report, a"
    " look-up, the route's `onUnconfirmed` or `settleMessage` decides.",
    SENT="The provider accepted it.",
    RECEIVED="Received from a person: the status of every message whose direction is `INBOUND`.",
)
_publish(
    AttemptOutcome,
    "AttemptOutcome",
    "The outcome of a call to a provider.",
    UNAVAILABLE="Certainly not done: the provider could not be reached, or asked for a later retry.",
    UNCONFIRMED="Possibly done: the answer was lost.",
)
_publish(
    RouteGoal,
    "RouteGoal",
    "What a step must reach so that the route ends with it.",
    SENT="The provider accepted it.",
    DELIVERED="It reached the telephone or the mailbox.",
)
_publish(
    UnconfirmedPolicy,
    "UnconfirmedPolicy",
    "What to do when it is not known whether a message was sent.",
    WAIT="Wait for a report, at most three days.",
    RESEND="Send it again. It may arrive twice.",
    NEXT_CHANNEL="Continue with the next channel. It may arrive on both.",
)
_publish(
    Decision,
    "SettleAs",
    "How an unconfirmed message is settled by hand.",
    SENT="The provider accepted it: it is `SENT`, and its route continues as if the provider had reported that.",
    FAILED="The provider did not accept it: it is `FAILED`, unless another attempt was accepted. `retryMessage` sends"
    " it again.",
    RESEND="Send it again over the same channel; it may arrive twice. It keeps its step in the route, its"
    " `expiresIn` and, as an e-mail, its Message-ID.",
)
_publish(
    RouteOutcome,
    "RouteOutcome",
    "The outcome of one step of a route.",
    WAITING="Not started yet.",
    TRYING="In progress.",
    UNCONFIRMED="It is not known whether it was sent.",
    DELIVERED="It reached what its `until` requires.",
    FAILED="It failed, and the route continued or ended.",
    SKIPPED="It was not needed or not tried.",
)
_publish(EventSource, "EventSource", "What caused an event.")
_publish(
    FailureReason, "DeliveryFailureReason", "The reasons why a message does not arrive, the same for every provider."
)
_publish(
    FailureParty,
    "FailureParty",
    "Who can fix the cause of a failure.",
    CALLER="The caller: the input is wrong.",
    RECIPIENT="The recipient: the number or address is wrong, unreachable, or refuses messages.",
    OPERATOR="The operator of this server: credentials, configuration, credit.",
    PROVIDER="The provider.",
)
_publish(
    TemplateCategory, "TemplateCategory", "The purpose of a template. Providers and laws have different rules for each."
)
_publish(
    TemplateApproval,
    "TemplateApproval",
    "The approval of a template by the channel's provider.",
    NOT_NEEDED="It is our own template: no approval is needed.",
    PENDING="Not approved yet.",
    PAUSED="Paused by the provider because of its low quality rating. The provider ends the pause.",
    DISABLED="Disabled, archived or deleted. It can no longer be sent.",
)
_publish(
    WebhookStatus,
    "WebhookStatus",
    "The processing status of a webhook event. A repeated event is one delivery.",
    RECEIVED="Waiting for a worker or for its next try.",
    IGNORED="This event needs no processing.",
    FAILED="Failed after several tries; see `deadLetters`.",
)
_publish(
    Resolution,
    "DeadLetterResolution",
    "The decision about a dead letter.",
    SETTLED="Resolved without a decision: a late report showed success.",
)
_publish(TimeWindow, "TimeWindow", "A range that ends now.", LAST_MONTH="Thirty days.")
_publish(
    HealthStatus,
    "HealthStatus",
    "The health of an integration.",
    DEGRADED="It failed; trial calls check whether it works again.",
    DOWN="Calls are stopped.",
    DISABLED="It is not configured.",
    UNKNOWN="No information yet.",
)
_publish(
    CredentialStatus,
    "CredentialStatus",
    "Whether the provider accepts our credentials.",
    UNTESTED="No recent call used them.",
)
_publish(
    Severity,
    "ProblemSeverity",
    "How bad a problem is.",
    INFO="Nothing has to be done.",
    WARNING="It still works; something has to be done soon.",
    CRITICAL="Something does not work.",
)
