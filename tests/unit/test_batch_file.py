"""Files of messages: as spreadsheets and programs write them, and the errors for unreadable ones."""

import json

import pytest

from api.cli.batch import Row, read_rows
from api.cli.message_input import FoundTemplate
from api.cli.terminal import Exit, Failure

NOTHING: dict[str, str | None] = {"channel": None, "text": None, "subject": None, "template": None, "locale": None}
TEMPLATE = FoundTemplate("T1", "reminder", ["1", "2", "name"])


def rows(text: str | bytes, **defaults: str) -> list[Row]:
    return read_rows(text if isinstance(text, bytes) else text.encode(), NOTHING | defaults)


def test_csv_as_spreadsheets_write_it_is_read() -> None:
    for raw in (
        'to,text\n+55 11 98765-4321,"Olá, Ana"\n',
        "to;text\r\n+55 11 98765-4321;Olá, Ana\r\n\r\n",
        "to\ttext\n+55 11 98765-4321\tOlá, Ana",
        "\ufeffTelefone;Text\n+55 11 98765-4321;Olá, Ana\n",
    ):
        [row] = rows(raw, channel="sms")
        assert row.message(None) == {"to": {"phone": "+55 11 98765-4321"}, "content": {"text": "Olá, Ana"}}, raw
        assert (row.place, row.channel) == ("line 2", "SMS")


def test_json_is_read_too() -> None:
    given = [
        {"to": "ana@example.com", "channel": "email", "subject": "Pedido", "html": "<p>Oi</p>", "external_id": "a-1"},
        {"to": 5511987654321, "channel": "SMS", "text": "Oi", "externalId": 7, "subject": None},
    ]
    mail, text = rows(json.dumps(given))
    assert mail.message(None) == {
        "to": {"email": "ana@example.com"},
        "content": {"email": {"subject": "Pedido", "html": "<p>Oi</p>"}},
        "externalId": "a-1",
    }
    assert text.message(None) == {"to": {"phone": "5511987654321"}, "content": {"text": "Oi"}, "externalId": "7"}
    assert text.place == "item 2"


def test_numbers_of_json_stay_as_they_are_written() -> None:
    for number in ("150.00", "1e400", "-0.0", "1" * 5_000):
        [row] = rows(f'[{{"to": "+551", "text": {number}}}]', channel="sms")
        assert row.values["text"] == number


def test_a_duplicate_column_is_refused_in_any_spelling() -> None:
    for raw in (
        "to,text,text\n+551,a,b\n",
        "to,Text,TEXT\n+551,a,b\n",
        "to,Phone,text\n+551,+552,b\n",
        '[{"to": "+551", "to": "+552", "text": "a"}]',
        '[{"to": "+551", "phone": "+552", "text": "a"}]',
        '[{"to": "+551", "text": "a", "externalId": "1", "external_id": "2"}]',
    ):
        with pytest.raises(Failure, match=r"(Line|Item) 1: .*(to|text|external_id) stands there twice") as refused:
            rows(raw, channel="sms")
        assert refused.value.status is Exit.USAGE
    # Gaps of a template keep their case.
    [row] = rows("to,Name,name\n+551,a,b\n", channel="whatsapp", template="reminder")
    assert row.gaps == {"Name": "a", "name": "b"}


def test_the_subject_of_an_email_is_the_first_line_of_its_text() -> None:
    for text in ("Seu pedido 7\r\nchegou", "\n\nSeu\tpedido 7\nchegou", "Seu pedido 7\u2028chegou", "Seu pedido 7"):
        [row] = rows(json.dumps([{"to": "ana@example.com", "text": text}]), channel="email")
        assert row.message(None)["content"]["email"] == {"subject": "Seu pedido 7", "plainText": text}


def test_the_separator_line_for_excel_is_skipped() -> None:
    [row] = rows("sep=;\r\nto;text\r\n+551;Oi, Ana\r\n", channel="sms")
    assert (row.line, row.values["text"]) == (3, "Oi, Ana")
    [row] = rows('"sep=|"\nto|text\n+551|a;b\n', channel="sms")
    assert row.values["text"] == "a;b"


def test_a_long_text_is_read_and_left_to_the_server_to_judge() -> None:
    [row] = rows(f"to,html\nana@example.com,{'x' * 199_000}\n", channel="email")
    assert len(row.values["html"]) == 199_000


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    found = rows('to,text\n\n+551,"a\nb"\n+552,c\n', channel="sms")
    assert [(row.line, row.values["text"]) for row in found] == [(3, "a\nb"), (5, "c")]


def test_columns_without_a_name_of_ours_fill_the_gaps_of_a_template() -> None:
    one, other = rows("to,1,name,text\n+551,10:00,Ana,\n+552,,,Oi\n", channel="whatsapp", template="reminder")
    assert one.template_key == ("WHATSAPP", "reminder", None)
    variables = [{"key": "1", "value": "10:00"}, {"key": "name", "value": "Ana"}]
    assert one.message(TEMPLATE)["content"] == {"template": {"templateId": "T1", "variables": variables}}
    assert other.template_key is None
    with pytest.raises(Failure, match=r"Line 2: the column 1 is none of to, .*such gap"):
        one.message(FoundTemplate("T1", "reminder", []))


def test_what_cannot_be_read_is_refused_with_its_line() -> None:
    cases: list[tuple[str | bytes, str]] = [
        (b"to,text\n+55,caf\xe9\n", "Line 2: it is not UTF-8"),
        ("", "There is no message"),
        ("to,text\n", "There is no message"),
        ("nome,fone\n", "Line 1: the first line names the columns"),
        ("to,text,text\n", "Line 1: the column text stands there twice"),
        ("to,,text\n+55,a,b\n", "Line 1: column 2 has no name"),
        ("to,text\n+551,a,b\n", "Line 2: it has 3 cells"),
        ("to,text\n,a\n", "Line 2: the column to is empty"),
        ("to,text\n+551,\n", "Line 2: it has no content"),
        ("to,text,channel\n+551,a,pombo\n", "Line 2: pombo is no channel"),
        ('to,text\n+551,"a\n', "this is no CSV"),
        ("to,text,template\n+551,a,b\n", "Line 2: it has a text and a template"),
        ('[{"to": "+551", "text": "a"}, 3]', "Item 2: each item"),
        ('[{"to": "+551", "text": ["a"]}]', "Item 1: text is a text or a number"),
        ('[{"to": "+551", "text": NaN}]', "Item 1: text is a text or a number"),
        ('[{"to": "+551", "text": "a\\ud83d"}]', r"Item 1: text contains U\+D83D, .* half of a surrogate pair"),
        ('[{"\\ud83d": "a", "to": "+551"}]', r"Item 1: .ud83d contains U\+D83D"),
        ('[{"to": "+551",', "this is no JSON"),
        ('{"to": "+551"}', "The file holds one object"),
        ("[" * 100_000, "JSON|nested"),
    ]
    for raw, told in cases:
        with pytest.raises(Failure, match=told) as refused:
            rows(raw, channel="sms")
        assert refused.value.status is Exit.USAGE, raw
    with pytest.raises(Failure, match="Line 2: there is no channel"):
        rows("to,text\n+551,a\n")
