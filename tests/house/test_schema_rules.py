"""The schema and the planned one keep the schema rules; every rule finds its violations."""

import pytest
from graphql import build_schema

from tests.house.schema_rules import RULES, broken_rules
from tests.house.sources import HORIZON_SCHEMA, SCHEMA_FILE

NO_DESCRIPTION = ": has no description"


# What an act was done to may be gone, or may never have been: a log says which it was, and shows nothing of it.
OF_A_LOG = "AuditEvent.targetId: show the object, not its id"


def test_the_schema_keeps_every_rule() -> None:
    assert broken_rules(build_schema(SCHEMA_FILE)) == [OF_A_LOG]


TOLERATED = {
    OF_A_LOG,
    "Subject: Message.status is MessageStatus!, Payment.status is PaymentStatus!",
    "Subject: Message.status is MessageStatus!, CalendarEvent.status is CalendarEventStatus!",
}
"""What a dead letter is about can be almost anything, and keeps its own words: clients alias `status`, a fair price."""


def test_the_horizon_keeps_every_rule_that_is_not_about_descriptions() -> None:
    found = {one for one in broken_rules(build_schema(HORIZON_SCHEMA)) if not one.endswith(NO_DESCRIPTION)}
    assert found == TOLERATED


GOOD = """
"A schema."
schema { query: Query, mutation: Mutation, subscription: Subscription }
"Roots." type Query {
  "Any." node(id: ID!): Node
  "All." things(first: Int, after: String, last: Int, before: String): ThingConnection!
}
"Verbs." type Mutation { "Makes one." makeThing(input: MakeThingInput!): MakeThingPayload! }
"Events." type Subscription { "News." thingChanged: Thing! }
"A node." interface Node { id: ID! }
"An error." interface UserError { message: String! }
"A page." type PageInfo { hasNextPage: Boolean!, hasPreviousPage: Boolean!, startCursor: String, endCursor: String }
"A thing." type Thing implements Node { id: ID!, madeAt: DateTime!, isBig: Boolean!, tags: [String!], kind: Kind }
"Things." type ThingConnection { edges: [ThingEdge!]!, nodes: [Thing!]!, pageInfo: PageInfo! }
"A thing of a page." type ThingEdge { cursor: String!, node: Thing! }
"What to make." input MakeThingInput { tags: [String!] }
"What was made." type MakeThingPayload { thing: Thing, errors: [MakeThingError!]! }
"What went wrong." union MakeThingError = BadError | WorseError
"Bad." type BadError implements UserError { message: String!, path: [String!] }
"Worse." type WorseError implements UserError { message: String!, path: [String!] }
"Kinds." enum Kind { SMALL }
"A moment." scalar DateTime @specifiedBy(url: "https://example.com")
"""

BROKEN = {
    "schema: Type Thing must define one or more fields.": (
        GOOD[GOOD.index("{ id: ID!, madeAt") : GOOD.index('"Things."')],
        "\n",
    ),
    "Node: must be interface Node { id: ID! }": (
        "interface Node { id: ID! }",
        "interface Node { id: ID!, name: String }",
    ),
    "Query.node: must be node(id: ID!): Node": ("node(id: ID!): Node", "node(id: ID!): Node!"),
    "Thing.id: must be ID!": ("implements Node { id: ID!", "{ id: String!"),
    "PageInfo: must have the four fields of Relay": ("startCursor: String,", ""),
    "ThingConnection: needs edges, nodes and pageInfo": ("nodes: [Thing!]!, ", ""),
    "ThingEdge: must be { cursor: String!, node: Thing! }": ("node: Thing! }", "node: Thing }"),
    "Query.things: takes first: Int, after: String, last: Int and before: String": ("last: Int, ", ""),
    "Mutation.makeThing: takes input: MakeThingInput!": ("(input: MakeThingInput!)", "(input: MakeThingInput)"),
    "Mutation.makeThing: returns MakeThingPayload!": ("): MakeThingPayload!", "): MakeThingPayload"),
    "MakeThingPayload.errors: must be a list [XError!]!": ("errors: [MakeThingError!]!", "errors: [MakeThingError!]"),
    "MakeThingPayload.errors: BadError does not implement UserError": ("BadError implements UserError", "BadError"),
    "MakeThingPayload.thing: is null when there are errors": ("{ thing: Thing,", "{ thing: Thing!,"),
    "MakeThingError: BadError.path is [String!], WorseError.path is String": (
        '{ message: String!, path: [String!] }\n"Kinds."',
        '{ message: String!, path: String }\n"Kinds."',
    ),
    "Thing.tags: [String] lets nulls in": ("tags: [String!], kind", "tags: [String], kind"),
    "MakeThingInput.tags: [String] lets nulls in": ("{ tags: [String!] }", "{ tags: [String] }"),
    "Thing.big: a boolean reads as a question: isX, hasX, canX": ("isBig", "big"),
    "Thing.madeAt: String! is no moment": ("madeAt: DateTime!", "madeAt: String!"),
    "KindEnum: the kind does not belong in the name": ("Kind", "KindEnum"),
    "MakeThing: an input ends in Input, Filter or Order": ("MakeThingInput", "MakeThing"),
    "Kind.small: is written in capitals": ("SMALL", "small"),
    "DateTime: a scalar says where it is specified": (' @specifiedBy(url: "https://example.com")', ""),
    "Query.listThings: a field is a noun": ("things(", "listThings("),
    "Subscription.thingChange: is named in the past tense and not null": ("thingChanged", "thingChange"),
    "Subscription.thingChanged: is named in the past tense and not null": (
        "thingChanged: Thing!",
        "thingChanged: Thing",
    ),
    "schema: has no description": ('"A schema."', ""),
    "Thing: has no description": ('"A thing."', ""),
    "Lost: nothing leads here": ('"A moment." scalar', '"Lost." type Lost { at: DateTime! }\n"A moment." scalar'),
    "Query.things.first: = null says nothing": ("things(first: Int,", "things(first: Int = null,"),
    "MakeThingInput.tags: = null says nothing": ("{ tags: [String!] }", "{ tags: [String!] = null }"),
    "Thing.ownerId: show the object, not its id": ("isBig: Boolean!", "isBig: Boolean!, ownerId: ID"),
    "Mutation.makeThing: has no description": ('"Makes one."', ""),
}


def test_a_good_schema_breaks_no_rule() -> None:
    assert broken_rules(build_schema(GOOD)) == []


def test_every_breach_is_noticed(subtests: pytest.Subtests) -> None:
    for sentence in BROKEN:
        with subtests.test(sentence):
            right, wrong = BROKEN[sentence]
            assert right in GOOD
            assert sentence in broken_rules(build_schema(GOOD.replace(right, wrong), assume_valid_sdl=True))


def test_every_rule_has_been_seen_broken() -> None:
    blind = [
        rule.__name__
        for rule in RULES
        if not any(list(rule(build_schema(GOOD.replace(*change), assume_valid_sdl=True))) for change in BROKEN.values())
    ]
    assert blind == []
