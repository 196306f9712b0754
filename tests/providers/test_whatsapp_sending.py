"""Sending a message through WhatsApp: against the simulator, and against servers with unexpected answers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import integrations.whatsapp
from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import ButtonParameter, Content, Receipt, Reference, TemplateContent, TextContent
from integrations.http_client import HttpClient
from integrations.provider_errors import Kind
from integrations.whatsapp.adapter import TEXT_LIMIT, GraphApi, WhatsAppSender, app_secret_proof, message_body
from integrations.whatsapp.errors import MEANINGS
from integrations.whatsapp.settings import Settings
from tests.providers.factories import ANA, REFERENCE, whatsapp, whatsapp_settings
from tests.providers.servers import Connection, scripted_server
from tests.servers import WHATSAPP, Simulators, WebhookReceiver

ANSWERS = Path(integrations.whatsapp.__file__).parent / "fixtures" / "answers"
ACCEPTED = (ANSWERS / "accepted.json").read_bytes()
WAMID = "wamid.HBgMNTUzMTg3NjU0MzIxFQIAERgSQUJDREVGMDEyMzQ1Njc4OTAA"
BIA = "BR.1005511900000004"
STRANGER = "+5511987650000"
REMINDER = TemplateContent("appointment_reminder", "pt-BR", body=[(None, "Ana"), (None, "24/11")])
ERRORS = {
    Kind.REJECTED: ProviderRejected,
    Kind.UNAVAILABLE: ProviderUnavailable,
    Kind.UNKNOWN: OutcomeUnknown,
    Kind.MISCONFIGURED: ProviderMisconfigured,
}
Sending = Callable[..., Awaitable[Receipt]]


def sender(settings: Settings, http: HttpClient) -> WhatsAppSender:
    return WhatsAppSender(settings, GraphApi(settings, http))


@pytest.fixture
def send(simulators: Simulators, http: HttpClient) -> Sending:
    """Send through the simulator, with other settings where given."""

    async def send(content: Content = TextContent("Olá, Ana!"), to: str = ANA, **changes: str) -> Receipt:  # noqa: B008
        in_reply_to = changes.pop("in_reply_to", None)
        settings = whatsapp_settings(simulators.whatsapp_base, **changes)
        return await sender(settings, http).send(whatsapp(content, to, in_reply_to))

    return send


@asynccontextmanager
async def answering(status: int, body: bytes, *headers: str) -> AsyncIterator[str]:
    """A Meta with one answer to everything; gives its address."""

    async def answer(line: Connection) -> None:
        await line.request()
        await line.answer(status, body, *headers)

    async with scripted_server(answer) as wire:
        yield wire.base


async def failure(sending: Awaitable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await sending
    assert caught.value.provider == "whatsapp"
    return caught.value


async def kept(simulators: Simulators, receipt: Receipt) -> dict[str, Any]:
    return await simulators.control.message("whatsapp", str(receipt.provider_message_id))


async def test_a_text_goes_out_with_our_reference(simulators: Simulators, send: Sending) -> None:
    receipt = await send()
    message = await kept(simulators, receipt)
    assert (message["to"], message["text"], message["kind"]) == (ANA, "Olá, Ana!", "text")
    assert Reference.parse(message["reference"]) == REFERENCE
    assert (receipt.detail, receipt.recipient_id) == (None, None)


async def test_our_reference_comes_back_in_every_report(send: Sending, receiver: WebhookReceiver) -> None:
    receipt = await send()
    for webhook in await receiver.wait_for("/webhooks/whatsapp", 2):
        [status] = webhook.value["statuses"]
        assert (status["id"], status["biz_opaque_callback_data"]) == (receipt.provider_message_id, str(REFERENCE))


async def test_a_reply_names_what_it_answers(simulators: Simulators, send: Sending) -> None:
    asked = await simulators.control.inbound("whatsapp", sender=ANA, text="Que horas?")
    assert (await kept(simulators, await send(in_reply_to=asked["id"])))["reply_to"] == asked["id"]


@pytest.mark.parametrize("to", ["+5531987654321", "+553187654321", "5531987654321"])
async def test_an_old_brazilian_number_is_sent_complete_and_its_account_id_is_returned(
    simulators: Simulators, send: Sending, to: str
) -> None:
    receipt = await send(to=to)
    assert receipt.recipient_id == "553187654321"
    assert (await kept(simulators, receipt))["addressed_as"] == "5531987654321"


async def test_a_user_id_is_addressed_as_such(simulators: Simulators, send: Sending) -> None:
    receipt = await send(to=BIA)
    assert receipt.recipient_id is None
    body = json.loads((await simulators.control.journal(verdict="accepted"))[0]["body"])
    assert (body["recipient"], "to" in body) == (BIA, False)


async def test_a_template_goes_out_with_header_body_and_button(simulators: Simulators, send: Sending) -> None:
    content = TemplateContent(
        "order_shipped",
        "pt-BR",
        header=[("order", "1042")],
        body=[("name", "Ana"), ("day", "amanhã")],
        buttons=[ButtonParameter(0, "URL", "1042")],
    )
    receipt = await send(content, STRANGER)
    assert receipt.detail == "accepted"
    text = "Pedido 1042\nAna, seu pedido está a caminho e chega amanhã."
    assert (await kept(simulators, receipt))["text"] == text


@pytest.mark.parametrize(
    "content",
    [
        REMINDER,
        TemplateContent("appointment_reminder", "pt_BR", body=REMINDER.body),
        TemplateContent("hello_world", "en-US"),
        TemplateContent(
            "verification_code", "pt-BR", body=[(None, "123456")], buttons=[ButtonParameter(0, "OTP", "123456")]
        ),
        TemplateContent(
            "spring_offer",
            "pt-BR",
            body=[(None, "Ana"), (None, "20%")],
            buttons=[ButtonParameter(0, "COPY_CODE", "FLORES20"), ButtonParameter(1, "quick_reply", "STOP")],
        ),
    ],
)
async def test_a_template_of_each_sort_is_taken(send: Sending, content: TemplateContent) -> None:
    assert (await send(content, STRANGER)).provider_message_id


def test_an_unknown_button_is_passed_on() -> None:
    content = TemplateContent("x", "pt-BR", buttons=[ButtonParameter(3, "FLOW", "token")])
    assert message_body(whatsapp(content))["template"]["components"] == [
        {"type": "button", "sub_type": "flow", "index": "3", "parameters": [{"type": "text", "text": "token"}]}
    ]


async def test_a_text_at_the_limit_is_sent_and_a_longer_one_is_not_even_tried(
    simulators: Simulators, send: Sending
) -> None:
    assert (await send(TextContent("á" * TEXT_LIMIT))).provider_message_id
    error = await failure(send(TextContent("á" * (TEXT_LIMIT + 1))))
    assert isinstance(error, ProviderRejected)
    assert (error.reason, error.party) == (FailureReason.CONTENT_REJECTED, FailureParty.CALLER)
    assert len(await simulators.control.journal(simulator="whatsapp", direction="received")) == 1


async def test_a_template_held_for_its_quality_is_taken_and_a_paused_one_refused(send: Sending) -> None:
    held = await send(REMINDER, "+5511900000005")
    assert held.detail == "held_for_quality_assessment"
    error = await failure(send(REMINDER, "+5511900000006"))
    assert isinstance(error, ProviderRejected)
    assert (error.reason, error.provider_code) == (FailureReason.TEMPLATE_REJECTED, "paused")


@pytest.mark.parametrize(
    ("content", "to", "code", "reason"),
    [
        (TemplateContent("unheard_of", "pt-BR"), STRANGER, "132001", FailureReason.TEMPLATE_REJECTED),
        (TemplateContent("summer_offer", "pt-BR"), STRANGER, "132001", FailureReason.TEMPLATE_REJECTED),
        (TemplateContent("winter_offer", "pt-BR"), STRANGER, "132015", FailureReason.TEMPLATE_REJECTED),
        (TemplateContent("last_offer", "pt-BR"), STRANGER, "132016", FailureReason.TEMPLATE_REJECTED),
        (TemplateContent("appointment_reminder", "pt-BR"), STRANGER, "132000", FailureReason.TEMPLATE_REJECTED),
        (TextContent("Oi"), "+551140028922", "131021", FailureReason.INVALID_RECIPIENT),
        (TextContent("Oi"), "+5511901310471", "131047", FailureReason.SESSION_WINDOW_CLOSED),
    ],
)
async def test_what_meta_refuses_is_refused_in_our_terms(
    send: Sending, content: Content, to: str, code: str, reason: FailureReason
) -> None:
    error = await failure(send(content, to))
    assert (error.provider_code, error.reason) == (code, reason)


async def test_the_version_is_a_setting(simulators: Simulators, send: Sending) -> None:
    await send(WHATSAPP_API_VERSION="v25.0")
    path = (await simulators.control.journal(verdict="accepted"))[0]["path"]
    assert path == f"/whatsapp/v25.0/{WHATSAPP['WHATSAPP_PHONE_NUMBER_ID']}/messages"
    error = await failure(send(WHATSAPP_API_VERSION="v9.0"))
    assert (type(error), error.provider_code) == (ProviderRejected, "2500")


async def test_the_app_secret_is_proven_where_meta_requires_it(simulators: Simulators, send: Sending) -> None:
    await simulators.control.act("whatsapp", "conditions", requires_proof=True)
    assert (await failure(send())).provider_code == "100"
    assert (await send(WHATSAPP_APP_SECRET_PROOF="true")).provider_message_id
    rotating = f"{WHATSAPP['WHATSAPP_APP_SECRET']},{'f' * 32}"
    assert (await send(WHATSAPP_APP_SECRET_PROOF="true", WHATSAPP_APP_SECRET=rotating)).provider_message_id


def test_the_proof_is_the_known_one() -> None:
    known = "0a14438fa9b64628a3dd6e4af430eb119c0cdb171db6d79e205c54816c52bb0d"
    assert app_secret_proof(whatsapp_settings(WHATSAPP_ACCESS_TOKEN="EAAGtoken")) == known


@pytest.mark.parametrize(
    ("name", "receipt"),
    [
        ("accepted", Receipt(WAMID, "accepted", "553187654321", "200 message_status=accepted")),
        ("accepted_by_user_id", Receipt(WAMID, None, "BR.13491208655302741918", "200, 262 bytes, no type")),
    ],
)
async def test_what_meta_answers_is_read(http: HttpClient, name: str, receipt: Receipt) -> None:
    async with answering(200, (ANSWERS / f"{name}.json").read_bytes()) as base:
        assert await sender(whatsapp_settings(base), http).send(whatsapp()) == receipt


async def test_the_refusal_we_keep_is_read(http: HttpClient) -> None:
    async with answering(400, (ANSWERS / "refused.json").read_bytes()) as base:
        error = await failure(sender(whatsapp_settings(base), http).send(whatsapp()))
    assert (type(error), error.provider_code) == (ProviderRejected, "132000")


async def test_a_code_means_at_the_wire_what_the_table_says(simulators: Simulators, send: Sending) -> None:
    # One of each meaning: tests/providers/test_codes.py reads them all.
    for code in {meaning: code for code, meaning in MEANINGS.items()}.values():
        await simulators.control.arm("whatsapp", "code", next=1, code=str(code))
        error = await failure(send())
        meaning = MEANINGS[code]
        assert type(error) is ERRORS[meaning.kind]
        assert (error.reason, error.party, error.message) == (meaning.reason, meaning.party, meaning.message)
        assert error.provider_code == str(code)
        if isinstance(error, ProviderUnavailable):
            assert error.retry_after == meaning.pause


async def test_an_ended_token_and_a_missing_permission_are_for_the_operator(
    simulators: Simulators, send: Sending
) -> None:
    for changes, code in (
        ({"token": "expired"}, "190"),
        ({"token": "valid", "permissions": []}, "10"),
    ):
        await simulators.control.act("whatsapp", "conditions", **changes)
        error = await failure(send())
        assert (type(error), error.provider_code) == (ProviderMisconfigured, code)


async def test_a_number_id_meta_does_not_know_is_for_the_operator(send: Sending) -> None:
    error = await failure(send(WHATSAPP_PHONE_NUMBER_ID="999999999999"))
    assert (type(error), error.provider_code) == (ProviderMisconfigured, "33")
    assert "WHATSAPP_PHONE_NUMBER_ID" in error.message


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_too_many_requests_come_back_when_asked_to(simulators: Simulators, send: Sending, form: str) -> None:
    await simulators.control.arm("whatsapp", "rate_limit", next=1, retry_after=60, retry_after_as=form)
    error = await failure(send())
    assert isinstance(error, ProviderUnavailable)
    assert 55 < (error.retry_after or 0) <= 60


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [(kind, accepted) for kind in ("server_error", "timeout", "reset", "garbage") for accepted in (False, True)],
)
async def test_what_may_have_been_taken_is_unknown(
    simulators: Simulators, hasty: HttpClient, kind: str, accepted: bool
) -> None:
    await simulators.control.arm("whatsapp", kind, next=1, accepted=accepted)
    sending = sender(whatsapp_settings(simulators.whatsapp_base), hasty).send(whatsapp())
    with pytest.raises(OutcomeUnknown):
        await sending
    assert len(await simulators.control.messages("whatsapp")) == accepted


def error_body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


UNEXPECTED_ANSWERS = [
    (200, b"<html>Welcome</html>", OutcomeUnknown, "200"),
    (200, ACCEPTED[:100], OutcomeUnknown, "200"),
    (200, b"{}", OutcomeUnknown, "200"),
    (200, b'{"messages": []}', OutcomeUnknown, "200"),
    (200, b'{"messages": [{"id": null}]}', OutcomeUnknown, "200"),
    (200, b'{"messages": [{"id": "wamid."}]}', OutcomeUnknown, "200"),
    (200, b'{"messages": [{"id": "\\ud800"}]}', OutcomeUnknown, "200"),
    (200, b'["messages"]', OutcomeUnknown, "200"),
    (200, b"[" * 100_000, OutcomeUnknown, "200"),
    (200, b"\xff\xfe", OutcomeUnknown, "200"),
    (201, ACCEPTED, OutcomeUnknown, "201"),
    (204, b"", OutcomeUnknown, "204"),
    (302, b"", ProviderMisconfigured, "302"),
    (400, b"<html>Bad Request</html>", ProviderRejected, "400"),
    (400, error_body(code=999999), ProviderRejected, "999999"),
    (400, error_body(code="131026"), ProviderRejected, "400"),
    (400, error_body(code=True), ProviderRejected, "400"),
    (400, error_body(code=-1), ProviderRejected, "400"),
    (400, error_body(code=100, error_subcode=33), ProviderMisconfigured, "33"),
    (400, error_body(code=100, error_subcode=2494010), ProviderRejected, "100"),
    (400, b'{"error": []}', ProviderRejected, "400"),
    (401, b"", ProviderMisconfigured, "401"),
    (401, error_body(code=190, error_subcode=463), ProviderMisconfigured, "190"),
    (403, error_body(code=999999), ProviderMisconfigured, "999999"),
    (404, b"<html>Not Found</html>", ProviderMisconfigured, "404"),
    (407, b"", ProviderMisconfigured, "407"),
    (408, b"", OutcomeUnknown, "408"),
    (429, b"", ProviderUnavailable, "429"),
    (500, b"<html>oops</html>", OutcomeUnknown, "500"),
    (500, error_body(code=131000), OutcomeUnknown, "131000"),
    (500, error_body(code=131026), ProviderRejected, "131026"),
    (500, error_body(code=999999), OutcomeUnknown, "999999"),
    (502, b"", OutcomeUnknown, "502"),
    (503, error_body(code=131016), ProviderUnavailable, "131016"),
]


async def test_an_unexpected_answer_is_classified_by_its_code_and_then_by_its_status(
    subtests: pytest.Subtests, http: HttpClient
) -> None:
    for status, body, error, code in UNEXPECTED_ANSWERS:
        with subtests.test(f"{status}: {body!r}"):
            async with answering(status, body) as base:
                found = await failure(sender(whatsapp_settings(base), http).send(whatsapp()))
            assert (type(found), found.provider_code) == (error, code)


@pytest.mark.parametrize(
    "contact",
    [None, [], {}, {"wa_id": None}, {"wa_id": "\x00"}, {"wa_id": 5511987654321}, {"wa_id": ANA[1:]}],
)
async def test_an_answer_without_another_id_gives_no_other_id(http: HttpClient, contact: object) -> None:
    body = json.dumps({"contacts": [contact], "messages": [{"id": WAMID, "message_status": "\n"}]}).encode()
    async with answering(200, body) as base:
        receipt = await sender(whatsapp_settings(base), http).send(whatsapp())
    assert receipt == Receipt(WAMID, answer=f"200, {len(body)} bytes, no type")


async def test_no_error_contains_a_secret_or_a_number(send: Sending, simulators: Simulators) -> None:
    token = WHATSAPP["WHATSAPP_ACCESS_TOKEN"]
    await simulators.control.arm("whatsapp", "code", next=1, code="131026", text=f"{ANA} {token}")
    error = await failure(send(WHATSAPP_APP_SECRET_PROOF="true"))
    told = f"{error!r} {error} {error.args} {vars(error)}"
    assert token not in told
    assert ANA not in told
