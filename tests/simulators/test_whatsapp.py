"""The simulated WhatsApp accepts and refuses messages as Meta does, tested with pywa and with bare requests."""

import hmac
from typing import Any

import httpx
import pytest
from pywa.errors import (
    APIPermission,
    ExpiredAccessToken,
    PermissionDenied,
    WhatsAppError,
)
from pywa.types import Pagination, Result
from pywa.types.templates import (
    BodyText,
    CopyCodeButton,
    HeaderText,
    ParamFormat,
    QuickReplyButton,
    TemplateDetails,
    TemplateLanguage,
    TemplateStatus,
    URLButton,
)
from pywa_async import WhatsApp

from tests.helpers import until
from tests.servers import WHATSAPP, Simulators, WebhookReceiver
from tests.simulators.clients import (
    ANA_WHATSAPP,
    BIA_USER_ID,
    NUMBER_ID,
    TEXT_BODY,
    UNKNOWN_WHATSAPP,
    body_parameters,
    error_code,
    post_to_meta,
    pywa_client,
    template_message,
)


def button(index: object = 0, sub_type: str = "quick_reply", **parameter: str) -> dict[str, Any]:
    given = parameter or {"type": "payload", "payload": "SIM"}
    return {"type": "button", "sub_type": sub_type, "index": index, "parameters": [given]}


def named(kind: str, **values: str) -> dict[str, Any]:
    return {
        "type": kind,
        "parameters": [{"type": "text", "parameter_name": name, "text": text} for name, text in values.items()],
    }


async def test_pywa_sends_a_text_with_its_reference_and_what_it_answers(simulators: Simulators, meta: WhatsApp) -> None:
    asked = await simulators.control.inbound("whatsapp", sender=ANA_WHATSAPP, text="Que horas?")
    sent = await meta.send_message(to=ANA_WHATSAPP, text="Às 10h.", tracker="ref-1", reply_to_message_id=asked["id"])
    kept = await simulators.control.message("whatsapp", sent.id)
    assert (kept["text"], kept["reference"], kept["reply_to"]) == ("Às 10h.", "ref-1", asked["id"])
    assert (kept["to"], kept["from"], sent.chat.id) == ("+5511987654321", NUMBER_ID, ANA_WHATSAPP)


async def test_the_account_of_an_old_number_lacks_its_9(simulators: Simulators) -> None:
    for to in ("5531987654321", "+55 (31) 98765-4321", "553187654321"):
        answer = (await post_to_meta(simulators, {"to": to})).json()
        assert answer["contacts"] == [{"input": to, "wa_id": "553187654321"}]
    assert len(await simulators.control.messages("whatsapp", to="+5531987654321")) == 3
    young = (await post_to_meta(simulators, {"to": "5511987654321"})).json()
    assert young["contacts"][0]["wa_id"] == "5511987654321"


async def test_a_person_can_be_addressed_by_their_user_id(simulators: Simulators, meta: WhatsApp) -> None:
    sent = await meta.send_message(to=BIA_USER_ID, text="Oi, Bia")
    assert sent.chat.id == BIA_USER_ID
    both = (await post_to_meta(simulators, {"to": ANA_WHATSAPP, "recipient": BIA_USER_ID})).json()
    assert both["contacts"] == [{"input": ANA_WHATSAPP, "wa_id": ANA_WHATSAPP}]


async def test_pywa_sends_templates_with_all_their_parts(simulators: Simulators, meta: WhatsApp) -> None:
    header, body = HeaderText("Pedido {{order}}", order="1"), BodyText("{{name}} {{day}}", name="A", day="B")
    sent = await meta.send_template(
        to=UNKNOWN_WHATSAPP,
        name="order_shipped",
        language=TemplateLanguage.PORTUGUESE_BR,
        params=[
            header.params(order="1042"),
            body.params(name="Ana", day="amanhã"),
            URLButton.params(url_variable="1042", index=0),
        ],
    )
    kept = await simulators.control.message("whatsapp", sent.id)
    assert kept["text"] == "Pedido 1042\nAna, seu pedido está a caminho e chega amanhã."
    reminder = await meta.send_template(
        to=UNKNOWN_WHATSAPP,
        name="appointment_reminder",
        language=TemplateLanguage.PORTUGUESE_BR,
        params=[
            BodyText("{{1}} {{2}}", "A", "B").params("Ana", "24/11"),
            QuickReplyButton.params(callback_data="CONFIRM", index=0),
        ],
    )
    offer = await meta.send_template(
        to=UNKNOWN_WHATSAPP,
        name="spring_offer",
        language=TemplateLanguage.PORTUGUESE_BR,
        params=[
            BodyText("{{1}} {{2}}", "A", "B").params("Ana", "20%"),
            CopyCodeButton.params(coupon_code="FLORES20", index=0),
        ],
    )
    assert reminder.id != offer.id


async def test_pywa_reads_the_templates_page_by_page(meta: WhatsApp) -> None:
    page = await meta.get_templates(pagination=Pagination(limit=4))
    names = [one.name for one in page]
    assert (len(names), page.total_count) == (4, 10)
    following: Result[TemplateDetails] = page
    while following.has_next:
        following = await following.next()
        names += [one.name for one in following]
    assert (len(names), len(set(names))) == (10, 9)
    paused = await meta.get_templates(statuses=[TemplateStatus.PAUSED, TemplateStatus.DISABLED])
    assert sorted(one.name for one in paused) == ["last_offer", "winter_offer"]
    shipped = await meta.get_templates(name="order_shipped")
    assert {one.parameter_format for one in shipped} == {ParamFormat.NAMED}


async def test_pywa_reads_the_number(meta: WhatsApp) -> None:
    number = await meta.get_business_phone_number()
    assert (number.status, number.quality_rating) == ("CONNECTED", "GREEN")
    assert number.display_phone_number == "+55 11 4002-8922"


async def test_a_received_message_can_be_marked_read(simulators: Simulators, meta: WhatsApp) -> None:
    message = await simulators.control.inbound("whatsapp", sender=ANA_WHATSAPP, text="Oi")
    assert await meta.mark_message_as_read(message_id=message["id"])
    assert (await simulators.control.message("whatsapp", message["id"]))["status"] == "read"
    with pytest.raises(WhatsAppError):
        await meta.mark_message_as_read(message_id="wamid.unknown")


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "no product": ({"messaging_product": None}, 100),
    "another product": ({"messaging_product": "telegram"}, 100),
    "nobody": ({"to": None}, 100),
    "a group": ({"recipient_type": "group"}, 100),
    "no number": ({"to": "Ana"}, 131009),
    "a local number": ({"to": "0987"}, 131009),
    "a user id as a number": ({"to": BIA_USER_ID}, 131009),
    "a number as a user id": ({"to": None, "recipient": ANA_WHATSAPP}, 131009),
    "ourselves": ({"to": "551140028922"}, 131021),
    "a reference too long": ({"biz_opaque_callback_data": "x" * 513}, 100),
    "a reply to nothing": ({"context": {"message_id": "1"}}, 131009),
    "a picture": ({"type": "image", "image": {"link": "https://example.com/a.png"}}, 131051),
    "a type nobody knows": ({"type": ["text"]}, 131051),
    "no text": ({"text": None}, 131008),
    "an empty text": ({"text": {"body": " "}}, 131008),
    "a text too long": ({"text": {"body": "x" * 4097}}, 100),
    "no template": ({"type": "template", "text": None}, 131008),
    "a template nobody made": (template_message(name="unheard_of"), 132001),
    "another language": (template_message(language={"code": "fr"}), 132001),
    "a template not yet approved": (template_message(name="summer_offer"), 132001),
    "a rejected template": (template_message(name="autumn_offer"), 132001),
    "a paused template": (template_message(name="winter_offer"), 132015),
    "a disabled template": (template_message(name="last_offer"), 132016),
    "one gap filled of two": (template_message(components=body_parameters("Ana")), 132000),
    "no gap filled": (template_message(components=[]), 132000),
    "components that are none": (template_message(components="Ana"), 132000),
    "a header where there is none": (
        template_message(components=[*body_parameters("Ana", "24/11"), named("header", x="y")]),
        132000,
    ),
    "a gap filled with a picture": (
        template_message(
            components=[{"type": "body", "parameters": [{"type": "image"}, {"type": "text", "text": "x"}]}]
        ),
        132012,
    ),
    "a gap filled with nothing": (template_message(components=body_parameters("Ana", "")), 132012),
    "a text too long once filled": (template_message(components=body_parameters("Ana", "x" * 1024)), 132005),
    "a button that is not there": (template_message(components=[*body_parameters("Ana", "24/11"), button(2)]), 131009),
    "a button of another kind": (
        template_message(components=[*body_parameters("Ana", "24/11"), button(0, "url")]),
        132012,
    ),
    "a button filled wrongly": (
        template_message(components=[*body_parameters("A", "B"), button(type="text", text="x")]),
        132012,
    ),
    "names of other gaps": (
        template_message(
            name="order_shipped",
            components=[named("header", order="1"), named("body", name="Ana", when="x"), button(0, "url")],
        ),
        132012,
    ),
    "a button left empty": (
        template_message(
            name="order_shipped", components=[named("header", order="1"), named("body", name="Ana", day="x")]
        ),
        131008,
    ),
    "a code to a user id": (
        {
            "to": None,
            "recipient": BIA_USER_ID,
            **template_message(
                name="verification_code",
                components=[*body_parameters("123456"), button(0, "url", type="text", text="123456")],
            ),
        },
        131062,
    ),
}


async def test_what_meta_refuses_is_refused(subtests: pytest.Subtests, simulators: Simulators) -> None:
    for case in REFUSED:
        with subtests.test(case):
            await simulators.control.reset()
            changes, code = REFUSED[case]
            answer = await post_to_meta(simulators, changes)
            assert error_code(answer) == code, answer.text
            assert 400 <= answer.status_code < 500
            assert await simulators.control.messages("whatsapp") == []
            entries = await simulators.control.journal(simulator="whatsapp", verdict="refused")
            assert [entry["code"] for entry in entries] == [str(code)]


async def test_a_text_at_the_limit_is_taken(simulators: Simulators) -> None:
    assert (await post_to_meta(simulators, {"text": {"body": "x" * 4096}})).status_code == 200
    assert (await post_to_meta(simulators, {"biz_opaque_callback_data": "x" * 512})).status_code == 200


@pytest.mark.parametrize("content", [b'{"messaging_product": "whatsapp"}', b"{", b"[]", b"[" * 100_000])
async def test_what_is_not_json_has_no_parameters(simulators: Simulators, content: bytes) -> None:
    answer = await post_to_meta(simulators, content=content)
    assert (answer.status_code, error_code(answer)) == (400, 100)


@pytest.mark.parametrize(
    ("path", "code", "subcode"),
    [
        ("v26.0/999999999999/messages", 100, 33),
        (f"v16.0/{NUMBER_ID}/messages", 2500, None),
        (f"{NUMBER_ID}/messages", 2500, None),
        (f"v26.0/{NUMBER_ID}/letters", 2500, None),
    ],
)
async def test_an_address_that_is_not_there_is_refused(
    simulators: Simulators, path: str, code: int, subcode: int | None
) -> None:
    answer = await post_to_meta(simulators, path=path)
    assert (error_code(answer), answer.json()["error"].get("error_subcode")) == (code, subcode)


async def test_another_token_is_not_let_in(simulators: Simulators) -> None:
    async with httpx.AsyncClient(trust_env=False) as session:
        with pytest.raises(ExpiredAccessToken) as caught:
            await pywa_client(simulators, session, "EAAother").send_message(to=ANA_WHATSAPP, text="Oi")
        assert caught.value.status_code == 401
        for header in ({}, {"authorization": b"Bearer \xff"}, {"authorization": b"Basic EAAtoken"}):
            url = f"{simulators.whatsapp_base}/v26.0/{NUMBER_ID}/messages"
            async with httpx.AsyncClient(trust_env=False) as stranger:
                answer = await stranger.post(url, json=TEXT_BODY, headers=list(header.items()))
            assert (answer.status_code, error_code(answer)) == (401, 190)


@pytest.mark.parametrize(("token", "subcode"), [("expired", 463), ("withdrawn", 460)])
async def test_a_token_can_end(simulators: Simulators, meta: WhatsApp, token: str, subcode: int) -> None:
    await simulators.control.act("whatsapp", "conditions", token=token)
    with pytest.raises(ExpiredAccessToken) as caught:
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    assert (caught.value.code, caught.value.subcode, caught.value.status_code) == (190, subcode, 401)
    await simulators.control.act("whatsapp", "conditions", token="valid")
    assert (await meta.send_message(to=ANA_WHATSAPP, text="Oi")).id


async def test_permissions_can_be_missing(simulators: Simulators, meta: WhatsApp) -> None:
    await simulators.control.act("whatsapp", "conditions", permissions=["whatsapp_business_management"])
    with pytest.raises(PermissionDenied):
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    await simulators.control.act("whatsapp", "conditions", permissions=["whatsapp_business_messaging"])
    with pytest.raises(APIPermission):
        await meta.get_templates()


async def test_a_proof_of_the_app_secret_can_be_required_and_must_be_right(simulators: Simulators) -> None:
    proof = hmac.new(WHATSAPP["WHATSAPP_APP_SECRET"].encode(), b"EAAtoken", "sha256").hexdigest()
    await simulators.control.act("whatsapp", "conditions", requires_proof=True)
    assert error_code(await post_to_meta(simulators)) == 100
    assert error_code(await post_to_meta(simulators, appsecret_proof="f" * 64)) == 100
    assert (await post_to_meta(simulators, appsecret_proof=proof)).status_code == 200
    assert proof not in str(await simulators.control.journal())


async def test_a_token_describes_itself_and_is_not_written_down(simulators: Simulators, meta: WhatsApp) -> None:
    await simulators.control.act("whatsapp", "conditions", permissions=["whatsapp_business_messaging"])
    data = (await meta.api._request("GET", "/debug_token", params={"input_token": "EAAtoken"}))["data"]
    assert (data["is_valid"], data["expires_at"], data["scopes"]) == (True, 0, ["whatsapp_business_messaging"])
    assert "EAAtoken" not in str(await simulators.control.journal())
    assert "EAAtoken" not in str(await simulators.control.everything())


@pytest.mark.parametrize(
    ("to", "status"), [("5511900000005", "held_for_quality_assessment"), (UNKNOWN_WHATSAPP, "accepted")]
)
async def test_the_answer_to_a_template_says_what_happens_to_it(simulators: Simulators, to: str, status: str) -> None:
    assert (await post_to_meta(simulators, {"to": to, **template_message()})).json()["messages"][0][
        "message_status"
    ] == status
    assert "message_status" not in (await post_to_meta(simulators, {"to": to})).json()["messages"][0]


async def test_a_paused_template_is_never_sent(simulators: Simulators, receiver: WebhookReceiver) -> None:
    answer = (await post_to_meta(simulators, {"to": "5511900000006", **template_message()})).json()
    assert answer["messages"][0]["message_status"] == "paused"
    # The reports of the other message come, and none about it before them.
    await post_to_meta(simulators)
    await until(lambda: simulators.control.journal(direction="webhook"), lambda found: len(found) == 2)
    assert answer["messages"][0]["id"] not in str([webhook.body for webhook in receiver.received])


async def test_a_template_can_change_its_state(simulators: Simulators) -> None:
    await simulators.control.act("whatsapp", "template", name="appointment_reminder", status="PAUSED")
    assert error_code(await post_to_meta(simulators, {"to": UNKNOWN_WHATSAPP, **template_message()})) == 132015
    await simulators.control.act("whatsapp", "template", name="winter_offer", status="APPROVED")
    assert (await post_to_meta(simulators, template_message(name="winter_offer", components=[]))).status_code == 200
