"""Core's words as GraphQL enums."""

from enum import StrEnum

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

from core.access.api_key_format import KeyKind
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
from core.ports import Channel, Mode, TemplateApproval, TemplateCategory
from core.ports.principal import ActorKind, Scope
from core.providers.circuit import CircuitState


def _publish(words: type[StrEnum], name: str, description: str, **values: str) -> None:
    """Declare a StrEnum of core as a GraphQL enum; `values` describes those of its values that need words."""
    strawberry.enum(words, name=name, description=description)
    definition: StrawberryEnumDefinition = words.__strawberry_definition__  # type: ignore[attr-defined]
    by_name = {value.name: value for value in definition.values}
    for value, text in values.items():
        by_name[value].description = text


_publish(Scope, "Scope", "What credentials allow.")
_publish(
    KeyKind,
    "ApiKeyKind",
    "Whom the messages of a key may reach.",
    LIVE="Everybody.",
    ALLOW_LIST="Only the recipients it was made for: for staging.",
    TEST="Nobody: they go to companies that are simulated here, and are refused where one is not.",
)
_publish(
    ActorKind,
    "ActorKind",
    "What somebody who acts is.",
    PERSON="Somebody who has signed in.",
    KEY="A server, with an API key.",
    CLI="A command on a server of ours.",
    DEVELOPMENT="Somebody with a development token.",
    SYSTEM="The house itself, when it carries out what was asked for.",
)
_publish(ActOutcome, "AuditOutcome", "Whether an act was done.")
_publish(InputRule, "InputRule", "The rules an argument can break.")
_publish(Channel, "Channel", "A way to reach a person.")
_publish(
    Mode,
    "IntegrationMode",
    "Whether calls are real.",
    SANDBOX="The company's own test environment.",
    SIMULATED="Nothing leaves this server.",
)
_publish(
    CircuitState,
    "CircuitState",
    "`CLOSED` lets calls through, `OPEN` refuses them, `HALF_OPEN` lets one through to see.",
)
_publish(Direction, "MessageDirection", "Whether we wrote or they did.")
_publish(
    MessageStatus,
    "MessageStatus",
    "Where a message stands. It only moves forward: a late or repeated report is kept\n"
    "as an event and never takes a status back. `FAILED` may follow anything up to\n"
    "`SENT`; proof of delivery outranks `FAILED`; a retry brings it back to `QUEUED`.",
    QUEUED="Waiting for a worker, or for its next attempt: see `nextAttemptAt`.",
    UNCONFIRMED="The request may or may not have reached the provider. It is not sent again blindly: a report, a"
    " look-up, the route's `onUnconfirmed` or `settleMessage` decides.",
    SENT="The company took it.",
    RECEIVED="Received from a person: the status of every message whose direction is `INBOUND`.",
)
_publish(
    AttemptOutcome,
    "AttemptOutcome",
    "How a call to a company ended.",
    UNAVAILABLE="Surely not done: the company could not be reached or told us to come back.",
    UNCONFIRMED="Perhaps done: the answer was lost.",
)
_publish(
    RouteGoal,
    "RouteGoal",
    "What a channel must reach for the route to stop there.",
    SENT="The company took it.",
    DELIVERED="It reached the telephone, or the mailbox.",
)
_publish(
    UnconfirmedPolicy,
    "UnconfirmedPolicy",
    "What to do when nobody can say whether a send happened.",
    WAIT="Wait for a report, for up to three days.",
    RESEND="Send once more: it may arrive twice.",
    NEXT_CHANNEL="Go on with the next channel: it may arrive on both.",
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
    "What became of one step of a route.",
    WAITING="Its turn may come.",
    TRYING="Its turn is now.",
    UNCONFIRMED="Nobody can say whether it was sent.",
    DELIVERED="It reached what its `until` asks for.",
    FAILED="It did not, and the route went on or ended.",
    SKIPPED="It was not needed, or never came to be tried.",
)
_publish(EventSource, "EventSource", "Who or what made something happen.")
_publish(
    FailureReason, "DeliveryFailureReason", "The reasons a message does not arrive, whatever the company calls them."
)
_publish(
    FailureParty,
    "FailureParty",
    "Who can mend a failure.",
    CALLER="The caller: the input is wrong.",
    RECIPIENT="The recipient: a wrong, unreachable or unwilling number or address.",
    OPERATOR="Whoever runs this server: credentials, configuration, credit.",
    PROVIDER="The company behind the integration.",
)
_publish(
    TemplateCategory, "TemplateCategory", "What a template is for; companies and laws treat the three differently."
)
_publish(
    TemplateApproval,
    "TemplateApproval",
    "Whether the channel's company has let a template through.",
    NOT_NEEDED="It is one of ours: nobody has to.",
    PENDING="Not approved yet.",
    PAUSED="Paused by the provider because of its low quality rating. The provider ends the pause.",
    DISABLED="Disabled, archived or deleted: it cannot be sent any more.",
)
_publish(
    WebhookStatus,
    "WebhookStatus",
    "What became of something a company told us. The same thing told twice is one delivery.",
    RECEIVED="Waiting for a worker, or for its next try.",
    IGNORED="Nothing here cares about this event.",
    FAILED="Given up after several tries; see `deadLetters`.",
)
_publish(
    Resolution,
    "DeadLetterResolution",
    "What became of a dead letter.",
    SETTLED="It went well after all: a report came late, and nothing was left to do.",
)
_publish(TimeWindow, "TimeWindow", "A span that ends now.", LAST_MONTH="Thirty days.")
_publish(
    HealthStatus,
    "HealthStatus",
    "How well work with a company goes.",
    DEGRADED="It failed; single calls try whether it is back.",
    DOWN="Calls are held back.",
    DISABLED="It is not configured.",
    UNKNOWN="Nothing speaks against it, and nothing for it either.",
)
_publish(
    CredentialStatus,
    "CredentialStatus",
    "What a company says to our credentials.",
    UNTESTED="Nothing was sent with them lately.",
)
