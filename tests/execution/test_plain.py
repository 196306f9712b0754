"""Plain objects are answered byte for byte as graphql-core answers them."""

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Optional

import pytest
import strawberry
from graphql import GraphQLObjectType, get_named_type, is_abstract_type, is_leaf_type
from graphql.pyutils import Undefined
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext as StrawberryExecutor
from structlog.testing import capture_logs

from engine import groundwork
from engine.answer import Answer
from engine.engine import Engine
from engine.plain import Places, PlainExecutor
from engine.plan import Plan
from tests.execution.sample import translate


@strawberry.enum
class Color(Enum):
    RED = "red"
    BLUE = "blue"


@strawberry.interface
class Named:
    name: str | None


@strawberry.type
class Cat(Named):
    lives: int
    color: Color
    owner: Optional["Owner"]


@strawberry.type
class Dog(Named):
    tricks: list[str]
    friends: list[Cat | None]

    @strawberry.field
    def bark(self) -> str | None:
        return f"{self.tricks}!"


@strawberry.type
class Owner:
    id: strawberry.ID
    pets: list["Pet"]
    favourite: Optional["Pet"]
    named: list[Named] | None
    years: float | None


Pet = Annotated[Cat | Dog, strawberry.union("Pet")]


@strawberry.type
class Query:
    @strawberry.field
    def owner(self, info: strawberry.Info[Any, Any]) -> Owner | None:
        found: Owner | None = info.context
        return found


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def meet(self, info: strawberry.Info[Any, Any]) -> Owner:
        await asyncio.sleep(0)
        info.context.years = (info.context.years or 0) + 1
        found: Owner = info.context
        return found


SCHEMA = strawberry.Schema(Query, Mutation, types=[Cat, Dog])._schema


class Late:
    """Something to wait for."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self.value

    def __repr__(self) -> str:
        return f"Late({self.value!r})"


REX = Dog(name="Rex", tricks=["roll"], friends=[])
ODD: list[Any] = [
    None,
    7,
    "seven",
    ValueError("odd"),
    Late("late"),
    (),
    {},
    {"id": 1},
    Color.RED,
    Undefined,
    REX,
    [REX],
]


def mostly(value: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    return some.integers(0, 11).flatmap(lambda dice: some.sampled_from(ODD) if dice == 0 else value)


def thing(made: type, **attributes: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    return some.builds(made, **{name: mostly(value) for name, value in attributes.items()})


TEXTS = some.sampled_from(["", "Ana", "Zé 🏊"])


def animals(owner: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    cats = thing(Cat, name=some.none() | TEXTS, lives=some.integers(0, 9), color=some.sampled_from(Color), owner=owner)
    dogs = thing(Dog, name=TEXTS, tricks=some.lists(TEXTS, max_size=2), friends=some.lists(cats, max_size=2))
    return cats | dogs


def owners(depth: int = 1) -> some.SearchStrategy[Any]:
    pets = animals(owners(depth - 1) if depth else some.none())
    several = some.lists(pets, max_size=2)
    return thing(Owner, id=TEXTS, pets=several, favourite=some.none() | pets, named=several, years=some.floats(0, 9))


@some.composite
def selections(draw: some.DrawFn, kind: Any, depth: int = 3) -> str:
    """A selection of a type: fields under names of their own or another's, fragments, directives."""
    fields = [] if not hasattr(kind, "fields") else list(kind.fields)
    parts = []
    for _ in range(draw(some.integers(1, 4))):
        name = draw(some.sampled_from(["__typename", *fields]))
        inner = get_named_type(kind.fields[name].type) if name != "__typename" else None
        if inner is not None and not is_leaf_type(inner):
            if depth == 0:
                continue
            name += draw(selections(inner, depth - 1))
        alias = draw(some.sampled_from(["", "", f"x{len(parts)}: "]))
        parts.append(alias + name + draw(some.sampled_from([""] * 8 + [" @include(if: $yes)", " @skip(if: $yes)"])))
    if is_abstract_type(kind):
        members = draw(some.lists(some.sampled_from(SCHEMA.get_possible_types(kind)), max_size=2, unique=True))
        parts += [f"... on {one.name}{draw(selections(one, depth - 1))}" for one in members if depth]
    return "{" + " ".join(parts or ["__typename"]) + "}"


class Slow(PlainExecutor):
    """graphql-core as it is."""

    complete_object_value = StrawberryExecutor.complete_object_value  # type: ignore[assignment]


def planned(text: str) -> Plan:
    plan = Engine(SCHEMA, translate=translate).plan(text)
    assert isinstance(plan, Plan), plan
    return plan


def answer(plan: Plan, variables: Mapping[str, Any], root: Any, executor: type[PlainExecutor]) -> Answer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groundwork, "PlainExecutor", executor)
        with capture_logs():
            return asyncio.run(plan.execute(variables, root, "r1"))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(selection=selections(SCHEMA.type_map["Owner"]), values=some.lists(owners(), min_size=1, max_size=3))
def test_answers_are_equal_to_the_byte(selection: str, values: list[Any]) -> None:
    text = "query ($yes: Boolean!) { a: __typename @skip(if: $yes) owner " + selection + "}"
    plan = Engine(SCHEMA, translate=translate).plan(text)
    if not isinstance(plan, Plan):
        return  # two fields under one name that cannot be one
    for root in values:
        for yes in (True, False):
            fast, slow = (answer(plan, {"yes": yes}, root, one) for one in (PlainExecutor, Slow))
            assert fast == slow


def owner(**changes: Any) -> Owner:
    cat = Cat(name="Mia", lives=9, color=Color.RED, owner=None)
    given: dict[str, Any] = {"id": "1", "pets": [cat], "favourite": None, "named": [cat], "years": 1.0}
    return Owner(**{**given, **changes})


ALL = """{ owner {
  id years favourite { ... on Cat { name } ... on Dog { tricks } } named { name }
  pets { __typename ... on Cat { lives color owner { id } } ... on Dog { tricks friends { name } } }
} }"""


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_what_is_odd_is_answered_as_graphql_core_answers_it(odd: Any) -> None:
    plan = planned(ALL)
    roots = [owner(**{name: odd}) for name in ("id", "years", "favourite", "named", "pets")]
    for name in ("lives", "color", "owner", "tricks", "friends"):
        cat, dog = Cat(name="Mia", lives=9, color=Color.RED, owner=None), Dog(name="Rex", tricks=["a"], friends=[])
        for one in (cat, dog):
            if hasattr(one, name):
                setattr(one, name, odd)
        roots.append(owner(pets=[cat, dog], favourite=dog))
    for root in [odd, owner(pets=[odd]), owner(named=[odd]), *roots]:
        assert answer(plan, {}, root, PlainExecutor) == answer(plan, {}, root, Slow)


PLAIN = "{ owner { id pets { __typename ... on Cat { lives color } } named { name } ... on Owner { years } } }"


def test_what_is_plain_is_written_without_looking_at_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    fields: list[str] = []
    execute_field = StrawberryExecutor.execute_field

    def counted(self: Any, parent: GraphQLObjectType, *more: Any) -> Any:
        fields.append(parent.name)
        return execute_field(self, parent, *more)

    monkeypatch.setattr(StrawberryExecutor, "execute_field", counted)
    assert answer(planned(PLAIN), {}, owner(), PlainExecutor).errors == []
    assert fields == ["Query"]


def test_a_mutation_runs_once_even_if_its_answer_fails() -> None:
    met = owner(id=ValueError("no id"), years=1)
    answered = answer(planned("mutation { meet { id years } }"), {}, met, PlainExecutor)
    assert (met.years, len(answered.errors)) == (2, 1)


def test_no_more_locations_of_a_document_are_remembered_than_it_needs() -> None:
    names = range(9)
    given = ", ".join(f"$v{name}: Boolean!" for name in names)
    pets = " ".join(f"pets @include(if: $v{name}) {{ __typename }}" for name in names)
    plan = planned(f"query ({given}) {{ owner {{ years {pets} }} }}")
    cat = Cat(name="Mia", lives=9, color=Color.RED, owner=None)
    for number in range(512):
        answer(plan, {f"v{name}": bool(number >> name & 1) for name in names}, owner(pets=[cat]), PlainExecutor)
    assert 200 < len(plan.groundwork.places) <= 256


def test_the_fields_remembered_for_all_locations_of_a_document_are_bounded() -> None:
    names = range(9)
    given = ", ".join(f"$v{name}: Boolean!" for name in names)
    cats = "... on Cat { __typename name lives color }"
    pets = " ".join(f"pets @include(if: $v{name}) {{ {cats} }}" for name in names)
    plan = planned(f"query ({given}) {{ owner {{ years {pets} }} }}")
    cat = Cat(name="Mia", lives=9, color=Color.RED, owner=None)
    for number in range(512):
        answer(plan, {f"v{name}": bool(number >> name & 1) for name in names}, owner(pets=[cat]), PlainExecutor)
    writers = [one.__closure__ or () for one in plan.groundwork.places.values() if one is not None]
    held = [cell.cell_contents for closure in writers for cell in closure]
    assert sum(len(one) for one in held if type(one) is dict) < 600


def test_locations_belong_to_one_plan() -> None:
    assert planned(PLAIN).groundwork.places is not planned(PLAIN).groundwork.places
    assert planned(PLAIN).groundwork.places == Places()
