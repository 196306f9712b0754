"""A document is parsed, measured and validated once."""

from engine.answer import Outcome
from engine.engine import Documents, Engine, Key, Room
from engine.plan import Plan, Refusal
from tests.execution.sample import schema, translate


def test_the_second_time_a_document_is_known(engine: Engine) -> None:
    assert engine.plan("{ hello }") is engine.plan("{ hello }")
    assert (engine.documents.hits, engine.documents.misses) == (1, 1)


def test_a_refused_document_is_known_too(engine: Engine) -> None:
    assert engine.plan("{ nothing }") is engine.plan("{ nothing }")
    assert (engine.documents.hits, engine.documents.misses) == (1, 1)


def test_a_long_document_is_known_by_its_digest(engine: Engine) -> None:
    text = "{ hello } #" + "x" * 2_000
    assert isinstance(Key.of(text, None, False).document, bytes)
    assert engine.plan(text) is engine.plan(text)
    assert isinstance(engine.plan(text + "\ud800"), Refusal)


def test_operation_name_and_introspection_make_plans_of_their_own(engine: Engine) -> None:
    text = "query A { hello } query B { whoami }"
    plans = [engine.plan(text, "A"), engine.plan(text, "B"), engine.plan(text, "A", introspection=True)]
    assert [plan.name for plan in plans if isinstance(plan, Plan)] == ["A", "B", "A"]
    assert engine.documents.misses == 3


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    engine = Engine(schema, translate=translate, room=Room(entries=2))
    first = engine.plan("{ a: hello }")
    second = engine.plan("{ b: hello }")
    assert engine.plan("{ a: hello }") is first
    engine.plan("{ c: hello }")
    assert engine.plan("{ a: hello }") is first
    assert engine.plan("{ b: hello }") is not second


def test_long_documents_make_room_for_few() -> None:
    documents = Documents(plans=Room(), refusals=Room(entries=100, characters=1_000))
    refusal = Refusal(Outcome.REFUSED, ())
    for number in range(10):
        documents.keep(Key.of(str(number), None, False), refusal, characters=400)
    assert len(documents) == 2


def test_invalid_documents_never_evict_documents_in_use(engine: Engine) -> None:
    plan = engine.plan("{ hello }")
    for number in range(1_000):
        engine.plan(f"{{ nonsense{number}")
    assert engine.plan("{ hello }") is plan
    assert len(engine.documents) < 300
