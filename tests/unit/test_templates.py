"""Filling a template: every variable is replaced, nothing else is, and every mistake has a typed error."""

import html
import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput, Refused
from core.ports import (
    ButtonParameter,
    Channel,
    Content,
    EmailContent,
    TemplateApproval,
    TemplateButton,
    TemplateCategory,
    TemplateContent,
    TextContent,
)
from core.ports.content import check_content
from core.templates.filling import check_variables, fill, placeholders_of, variables_of
from core.templates.starters import STARTERS, Starter
from core.templates.tables import Template, TemplateNotUsable

AT = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
PATH = ["input", "content", "template"]
OURS = Template(
    id=UUID(int=1),
    channel=Channel.SMS,
    name="order_shipped",
    locale="pt-BR",
    category=TemplateCategory.TRANSACTIONAL,
    approval=TemplateApproval.NOT_NEEDED,
    body="Olá, {{name|cliente}}! O pedido {{order.number}} chega {{day}}. {{ day }}!",
    subject=None,
    header=None,
    html=None,
    buttons=(),
    examples={"name": "Ana"},
    integration=None,
    created_at=AT,
    updated_at=AT,
    gone_at=None,
)
MAIL = replace(
    OURS,
    channel=Channel.EMAIL,
    subject="Pedido {{order.number}}",
    body="Oi, {{name}}",
    html='<a title="{{name}}">{{name}}</a>',
)
THEIRS = replace(
    OURS,
    channel=Channel.WHATSAPP,
    approval=TemplateApproval.APPROVED,
    integration="whatsapp",
    header="Pedido {{1}}",
    body="{{2}}: {{1}} e {{2}}",
    buttons=(TemplateButton(1, "URL", "https://loja.example.com/{{1}}"),),
    examples={"1": "um"},
)
NAMED = replace(THEIRS, header="Pedido {{order}}", body="{{name}} {{order}}", buttons=())
CODE = replace(THEIRS, header=None, body="*{{1}}* é seu código.", buttons=(TemplateButton(0, "OTP", "{{1}}"),))
TEMPLATES = [OURS, MAIL, THEIRS, NAMED, CODE]


def filled(template: Template, **values: str) -> Content:
    return fill(template, [(name.replace("_", "."), value) for name, value in values.items()], PATH)


def test_ours_is_filled_with_values_and_defaults() -> None:
    assert filled(OURS, order_number="1042", day="amanhã") == TextContent(
        "Olá, cliente! O pedido 1042 chega amanhã. amanhã!"
    )
    assert filled(OURS, name="Ana", order_number="1", day="hoje") == TextContent(
        "Olá, Ana! O pedido 1 chega hoje. hoje!"
    )


def test_a_blank_value_is_none() -> None:
    assert "cliente" in repr(filled(OURS, name="  ", order_number="1", day="hoje"))
    with pytest.raises(TemplateNotUsable) as refused:
        filled(OURS, order_number=" ", name="Ana")
    assert refused.value.missing == ("order.number", "day")
    assert (refused.value.template, refused.value.path) == (OURS, tuple(PATH))


def test_html_escapes_a_value() -> None:
    evil = "\"><script>alert('1')</script>&"
    content = filled(MAIL, order_number="1042", name=evil)
    assert isinstance(content, EmailContent)
    assert content.plain_text == f"Oi, {evil}"
    assert content.html == f'<a title="{html.escape(evil)}">{html.escape(evil)}</a>'
    assert "<script" not in content.html


@pytest.mark.parametrize("value", ["1\r\nBcc: evil@example.com", "1\n", "1\x00", "1\x1b[2J"])
def test_a_subject_stays_on_its_line(value: str) -> None:
    with pytest.raises(Refused) as refused:
        filled(MAIL, name="Ana", order_number=value)
    [error] = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert (error.path, error.rule) == ((*PATH, "variables", "1", "value"), "MALFORMED")


def test_a_body_may_have_lines() -> None:
    assert isinstance(filled(MAIL, name="Ana\nMaria", order_number="1"), EmailContent)


def test_numbered_parameters_go_out_by_their_number() -> None:
    content = fill(THEIRS, [("2", "dois"), ("1", "um"), ("header.1", "1042"), ("button.1", "x/1042")], PATH)
    assert content == TemplateContent(
        "order_shipped",
        "pt-BR",
        header=[(None, "1042")],
        body=[(None, "um"), (None, "dois")],
        buttons=[ButtonParameter(1, "URL", "x/1042")],
        rendered="Pedido 1042\ndois: um e dois",
    )


def test_a_name_means_the_same_in_header_and_body() -> None:
    content = filled(NAMED, name="Ana", order="1042")
    assert isinstance(content, TemplateContent)
    assert content.header == [("order", "1042")]
    assert content.body == [("name", "Ana"), ("order", "1042")]
    assert content.rendered == "Pedido 1042\nAna 1042"


def test_the_button_of_a_one_time_code_copies_the_code_of_the_body() -> None:
    content = fill(CODE, [("1", "123456")], PATH)
    assert isinstance(content, TemplateContent)
    assert content.body == [(None, "123456")]
    assert content.buttons == [ButtonParameter(0, "OTP", "123456")]


def test_variables_are_listed_with_their_requirements() -> None:
    assert [(one.name, one.is_required, one.example) for one in variables_of(OURS)] == [
        ("name", False, "Ana"),
        ("order.number", True, None),
        ("day", True, None),
    ]
    assert [one.name for one in variables_of(THEIRS)] == ["header.1", "2", "1", "button.1"]
    assert [one.name for one in variables_of(CODE)] == ["1"]


def test_a_gap_without_default_in_one_place_must_be_filled() -> None:
    for body in ("{{a|x}} {{a}}", "{{a}} {{a|x}}"):
        assert [(one.name, one.is_required) for one in variables_of(replace(OURS, body=body))] == [("a", True)]


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "a\r", "a     b", "\u2028"])
def test_a_parameter_of_a_provider_template_takes_one_line(value: str) -> None:
    with pytest.raises(Refused) as refused:
        fill(CODE, [("1", f"x{value}")], PATH)
    [error] = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert (error.path, error.rule) == ((*PATH, "variables", "0", "value"), "MALFORMED")
    assert isinstance(fill(CODE, [("1", "a    b")], PATH), TemplateContent)


@pytest.mark.parametrize("name", ["header.1", "1"])
def test_a_text_too_long_for_the_provider_is_refused_here(name: str) -> None:
    values = {"1": "um", "2": "dois", "header.1": "x", "button.1": "x"} | {name: "x" * 1_100}
    with pytest.raises(Refused, match="at most"):
        fill(THEIRS, list(values.items()), PATH)


def test_an_unexpected_variable_is_named() -> None:
    with pytest.raises(Refused, match=r"'nmae'.*name, order.number, day") as refused:
        filled(OURS, nmae="Ana", order_number="1", day="hoje")
    [error] = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert error.path == (*PATH, "variables", "0", "key")


WRONG = {
    "given twice": ([("a", "1"), ("a", "2")], "NOT_ALLOWED", ("1", "key")),
    "too long": ([("a", "x" * 4_097)], "TOO_LONG", ("0", "value")),
    "NUL": ([("a", "\x00")], "MALFORMED", ("0", "value")),
    "half a pair": ([("\ud800", "x")], "MALFORMED", ("0", "key")),
    "a hundred and one": ([(str(n), "x") for n in range(101)], "TOO_LONG", ()),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_nothing_could_be_done_with_are_refused_before_any_look_up(case: str) -> None:
    variables, rule, place = WRONG[case]
    [error] = check_variables(variables, PATH)
    assert isinstance(error, InvalidInput)
    assert (error.rule, error.path) == (rule, (*PATH, "variables", *place))


HARMLESS = [
    "{{ 7*7 }}",
    "{{name.__class__.__mro__}}",
    "{{config}}",
    "{% for x in range(10**9) %}x{% endfor %}",
    "{{'a'*10**9}}",
    "${{name}}",
    "{{name|upper|safe}}",
    "%(name)s {0} {name!r:>1000000000}",
]


@pytest.mark.parametrize("words", HARMLESS)
def test_neither_a_text_nor_a_value_is_code(words: str) -> None:
    as_value = fill(replace(OURS, body="{{a}}"), [("a", words)], PATH)
    assert as_value == TextContent(words)
    template = replace(OURS, body=words)
    content = fill(template, [(one.name, "7") for one in variables_of(template)], PATH)
    assert isinstance(content, TextContent)
    assert "49" not in content.text
    assert len(content.text) <= len(words)


NAMES = st.from_regex(r"\A[a-z_0-9]{1,6}(\.[a-z]{1,4})?\Z")
PIECES = st.one_of(
    st.text(max_size=8),
    st.builds("{{{{{}}}}}".format, NAMES),
    st.builds("{{{{{}|{}}}}}".format, NAMES, st.text("ab çã", max_size=4)),
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
VALUES = st.lists(st.tuples(NAMES | st.text(max_size=4), st.text(max_size=20)), max_size=6)
ANY_TEMPLATE = st.builds(
    replace,
    st.sampled_from(TEMPLATES),
    body=TEXTS,
    subject=st.none() | TEXTS,
    header=st.none() | TEXTS,
    html=st.none() | TEXTS,
)


@given(ANY_TEMPLATE, VALUES, st.booleans())
def test_it_gives_content_or_an_error_of_ours(
    template: Template, values: list[tuple[str, str]], is_complete: bool
) -> None:
    if is_complete:
        values += [(one.name, "x") for one in variables_of(template) if one.name not in dict(values)]
    if check_variables(values, PATH):
        return
    try:
        content = fill(template, values, PATH)
    except (Refused, TemplateNotUsable):
        return
    try:
        check_content(content, template.channel, path=PATH)
    except InvalidInput:
        return
    json.dumps(repr(content)).encode()


@given(ANY_TEMPLATE, st.text("«» <>&", min_size=1, max_size=9).filter(str.strip))
def test_no_gap_is_left(template: Template, value: str) -> None:
    try:
        content = fill(template, [(one.name, value) for one in variables_of(template)][:100], PATH)
    except Refused:
        return
    match content:
        case TextContent(text):
            texts = [text]
        case EmailContent(subject, plain, rich):
            texts = [subject, plain or "", rich or ""]
        case TemplateContent():
            texts = [content.rendered]
    before = {gap.name for gap in placeholders_of("".join(_texts(template)), is_ours=template.is_ours)}
    left = {gap.name for text in texts for gap in placeholders_of(text, is_ours=template.is_ours)}
    assert left & before == set()


def _texts(template: Template) -> list[str]:
    return [text for text in (template.subject, template.header, template.body, template.html) if text]


@pytest.mark.parametrize("starter", STARTERS, ids=lambda starter: starter.name)
def test_the_first_templates_can_be_sent_with_their_own_examples(starter: Starter) -> None:
    template = replace(
        OURS,
        channel=starter.channel,
        body=starter.body,
        subject=starter.subject,
        html=starter.html,
        examples=starter.examples,
    )
    assert {variable.name for variable in variables_of(template)} == starter.examples.keys()
    content = fill(template, list(starter.examples.items()), PATH)
    check_content(content, starter.channel, path=PATH)
    assert placeholders_of(repr(content), is_ours=True) == []
