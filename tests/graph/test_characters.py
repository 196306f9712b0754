"""Every text argument accepts every character but controls, and returns it unchanged."""

from typing import Any

from resolvers.global_ids import to_global_id
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory

ERRORS = "errors { __typename ... on UserError { message path } ... on InvalidInputError { rule } }"
SEND = f"""mutation ($input: SendMessageInput!) {{ sendMessage(input: $input) {{
  message {{ id content {{ ... on TextContent {{ text segments }} ... on EmailContent {{ subject plainText html }}
    ... on TemplateContent {{ rendered variables {{ value }} }} }} }} {ERRORS} }} }}"""
BATCH = f"""mutation ($input: SendMessagesInput!) {{ sendMessages(input: $input) {{
  batch {{ name }} results {{ message {{ externalId }} {ERRORS} }} {ERRORS} }} }}"""
KEY = f"""mutation ($input: CreateApiKeyInput!) {{ createApiKey(input: $input) {{ apiKey {{ name }} {ERRORS} }} }}"""
FIND = "query ($filter: TemplateFilter) { templates(filter: $filter) { nodes { body } } }"

WRITTEN = [
    "Total: R$\u00a0150,00",
    "Oi 👩\u200d💻 👨\u200d👩\u200d👧 🏳\ufe0f\u200d🌈",
    # Emoji of Unicode 16 and 17, which older copies of Unicode do not know.
    "novos: \U0001fae9 \U0001fac8",
    "\u200fשלום\u200e, می\u200cخواهم",
    "auto\u00admático\u2009e\u202fjá\u3000fim\ufeff",
    "\ue000 \U000f0000 \u2066isolado\u2069",
]
REFUSED = {
    "ab\x00": "U+0000 (NULL) at character 3",
    "a\tb": "U+0009 (CHARACTER TABULATION) at character 2",
    "Oi\r\nBcc: x@example.com": "U+000D (CARRIAGE RETURN) at character 3",
    "🙂\x1b[31m": "U+001B (ESCAPE) at character 2",
    "a\x85": "U+0085 (NEXT LINE) at character 2",
    "a\u2028b": "U+2028 (LINE SEPARATOR) at character 2",
    "a\u2029b": "U+2029 (PARAGRAPH SEPARATOR) at character 2",
    "Oi \ud83d": "U+D83D (half of a surrogate pair) at character 4",
    # What else is wrong with it, that it is too long or empty or holds a number, does not hide the character.
    "x" * 1_000 + "\x07": "U+0007 (ALERT) at character 1001",
    "x\n": "U+000A (LINE FEED) at character 2",
    " \x1f": "U+001F (INFORMATION SEPARATOR ONE) at character 2",
    "+55 11 98765-4321\x0b": "U+000B (LINE TABULATION) at character 18",
}
PHONE: dict[str, Any] = {"to": {"phone": "+5511987654321"}, "content": {"text": "x"}, "route": [{"channel": "SMS"}]}

LISTED: dict[str, Any] = {"name": "x", "scopes": ["MESSAGES_SEND"], "kind": "ALLOW_LIST"}


def mail(subject: str, text: str = "x", html: str | None = None) -> dict[str, Any]:
    content = {"email": {"subject": subject, "plainText": text, "html": html}}
    return {"to": {"email": "ana@example.com"}, "content": content, "route": [{"channel": "EMAIL"}]}


async def asked(caller: Caller, query: str, **given: Any) -> dict[str, Any]:
    [answer] = (await caller.ask(query, input=given)).values()
    return dict(answer)


async def test_every_character_that_is_no_control_is_returned_unchanged(caller: Caller, factory: RecordFactory) -> None:
    template = await factory.template(
        caller, name="ours", channel="EMAIL", subject="Pago: {{amount}}", body="{{amount}}"
    )
    for number, words in enumerate(WRITTEN):
        lines = f"{words}\r\n\t{words}\u2028{words}"
        sent = await asked(caller, SEND, **PHONE | {"content": {"text": lines}, "idempotencyKey": words})
        assert (sent["errors"], sent["message"]["content"]["text"]) == ([], lines)
        sent = await asked(caller, SEND, **mail(words, lines, f"<p>{lines}</p>"))
        assert sent["errors"] == []
        assert sent["message"]["content"] == {"subject": words, "plainText": lines, "html": f"<p>{lines}</p>"}
        filled = {
            "template": {
                "templateId": str(to_global_id("Template", template.bytes)),
                "variables": [{"key": "amount", "value": words}],
            }
        }
        sent = await asked(caller, SEND, **mail("x") | {"content": filled})
        assert sent["errors"] == []
        assert sent["message"]["content"] == {"rendered": words, "variables": [{"value": words}]}
        batch = await asked(
            caller, BATCH, messages=[PHONE | {"externalId": words}], name=words, idempotencyKey=f"b{number}{words}"
        )
        assert (batch["errors"], batch["batch"]["name"]) == ([], words)
        assert batch["results"] == [{"message": {"externalId": words}, "errors": []}]
        key = await asked(caller, KEY, name=words, scopes=["MESSAGES_SEND"])
        assert key == {"apiKey": {"name": words}, "errors": []}
        await factory.template(caller, name=f"t{number}", body=f"x {words} y")
        found = await caller.ask(FIND, filter={"search": words})
        assert found["templates"]["nodes"] == [{"body": f"x {words} y"}]


async def test_a_character_that_cannot_be_on_a_line_is_refused_by_name_and_position(
    caller: Caller, factory: RecordFactory
) -> None:
    template = await factory.template(
        caller, name="ours", channel="EMAIL", subject="Pago: {{amount}}", body="{{amount}}"
    )
    for words, said in REFUSED.items():
        filled = {
            "template": {
                "templateId": str(to_global_id("Template", template.bytes)),
                "variables": [{"key": "amount", "value": words}],
            }
        }
        cases: list[tuple[str, str, dict[str, Any]]] = [
            ("content.email.subject", SEND, mail(words)),
            ("content.template.variables.0.value", SEND, mail("x") | {"content": filled}),
            ("to.phone", SEND, PHONE | {"to": {"phone": words}}),
            ("to.email", SEND, mail("x") | {"to": {"email": words}}),
            ("externalId", SEND, PHONE | {"externalId": words}),
            ("idempotencyKey", SEND, PHONE | {"idempotencyKey": words}),
            ("name", BATCH, {"messages": [PHONE], "name": words, "idempotencyKey": "k"}),
            ("idempotencyKey", BATCH, {"messages": [PHONE], "idempotencyKey": words}),
            ("name", KEY, {"name": words, "scopes": ["MESSAGES_SEND"]}),
            ("allowedRecipients.0.phone", KEY, LISTED | {"allowedRecipients": [{"phone": words}]}),
            ("allowedRecipients.0.email", KEY, LISTED | {"allowedRecipients": [{"email": words}]}),
        ]
        for path, query, given in cases:
            [error] = (await asked(caller, query, **given))["errors"]
            place = ".".join(error["path"]).removeprefix("input.")
            assert (place, error["rule"]) == (path, "MALFORMED"), (words, path)
            assert said in error["message"], (words, path)
    assert await factory.count("messages", caller) == 0


async def test_a_text_of_several_lines_takes_line_breaks_and_tabs_alone(caller: Caller) -> None:
    for words, said in {
        "a\n\x00": "U+0000 (NULL) at character 3",
        "a\x0cb": "U+000C (FORM FEED) at character 2",
        "\x1b[31m": "U+001B (ESCAPE) at character 1",
        "15\x96 20": "U+0096 (START OF GUARDED AREA) at character 3",
        "\udc00": "U+DC00 (half of a surrogate pair) at character 1",
    }.items():
        for path, given in {
            "content.text": PHONE | {"content": {"text": words}},
            "content.email.plainText": mail("x", words),
            "content.email.html": mail("x", html=words),
        }.items():
            [error] = (await asked(caller, SEND, **given))["errors"]
            assert (error["path"], error["rule"]) == (["input", *path.split(".")], "MALFORMED")
            assert said in error["message"], (words, path)
