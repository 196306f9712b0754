"""The simulated Twilio, tested with Twilio's own SDK."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from integrations.twilio.simulator.webhooks import sign
from tests.helpers import until
from tests.servers import ACCOUNT, KEY, NUMBER, SERVICE, TOKEN, Simulators, WebhookReceiver
from tests.simulators.clients import ANA_PHONE, is_signed_by_twilio, refused_sms, send_sms, twilio_sdk


async def test_a_message_is_sent_and_its_reports_come_signed(twilio: Client, receiver: WebhookReceiver) -> None:
    message = await send_sms(twilio, status_callback=f"{receiver.base}/status?ref=a%20b&x=%C3%A3#rc=1")
    assert (message.status, message.num_segments, message.from_, message.price_unit) == ("queued", "1", NUMBER, "USD")
    sent, delivered = await receiver.wait_for("/status", 2)
    assert (sent.status, delivered.status) == ("sent", "delivered")
    assert sent.url.endswith("/status?ref=a%20b&x=%C3%A3")
    assert is_signed_by_twilio(sent)
    assert is_signed_by_twilio(delivered)
    assert delivered.fields["MessageSid"] == message.sid
    assert "RawDlrDoneDate" in delivered.fields
    assert "ErrorCode" not in delivered.fields
    assert sent.headers["I-Twilio-Idempotency-Token"] != delivered.headers["I-Twilio-Idempotency-Token"]


async def test_a_messaging_service_chooses_the_sender_later(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    message = await send_sms(
        twilio, from_=None, messaging_service_sid=SERVICE, status_callback=f"{receiver.base}/service"
    )
    assert (message.status, message.from_, message.num_segments) == ("accepted", None, "0")
    webhook = (await receiver.wait_for("/service", 1))[0]
    assert (webhook.fields["From"], webhook.fields["MessagingServiceSid"]) == (NUMBER, SERVICE)
    fetched = await asyncio.to_thread(twilio.messages(message.sid).fetch)
    assert (fetched.from_, fetched.num_segments) == (NUMBER, "1")


async def test_a_message_can_be_fetched_and_found(simulators: Simulators, twilio: Client) -> None:
    sent = [await send_sms(twilio, body=f"number {n}") for n in range(3)]
    await send_sms(twilio, to="+5511987650000")
    await until(lambda: simulators.control.messages("twilio"), lambda kept: all(m["date_sent"] for m in kept))
    today = datetime.now(UTC).date()
    found = await asyncio.to_thread(
        lambda: twilio.messages.list(to=ANA_PHONE, from_=NUMBER, date_sent_after=today, page_size=2)
    )
    assert [message.sid for message in found] == [message.sid for message in reversed(sent)]
    assert len(await asyncio.to_thread(lambda: twilio.messages.list(date_sent=today))) == 4
    for nothing in ({"date_sent_after": today + timedelta(days=1)}, {"date_sent": today - timedelta(days=1)}):
        assert await asyncio.to_thread(lambda filters=nothing: twilio.messages.list(**filters)) == []
    fetched = await asyncio.to_thread(twilio.messages(sent[0].sid).fetch)
    assert fetched.body == "number 0"


async def test_what_waits_in_the_queue_is_in_the_list_and_in_no_list_of_a_day(
    simulators: Simulators, twilio: Client
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    message = await send_sms(twilio)
    assert [one.sid for one in await asyncio.to_thread(lambda: twilio.messages.list(to=ANA_PHONE))] == [message.sid]
    today = datetime.now(UTC).date()
    assert await asyncio.to_thread(lambda: twilio.messages.list(to=ANA_PHONE, date_sent_after=today)) == []


async def test_what_comes_while_the_list_is_read_shifts_no_page(simulators: Simulators, twilio: Client) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    sent = [(await send_sms(twilio, body=f"number {n}")).sid for n in range(4)]
    first = await asyncio.to_thread(lambda: twilio.messages.page(to=ANA_PHONE, page_size=2))
    await send_sms(twilio, body="late")
    second = await asyncio.to_thread(first.next_page)
    assert [message.sid for message in [*first, *second]] == sent[::-1]
    assert await asyncio.to_thread(second.next_page) is None
    back = await asyncio.to_thread(second.previous_page)
    assert [message.sid for message in back] == sent[:1:-1]


@pytest.mark.parametrize(
    "query",
    [
        {"DateSent": "yesterday"},
        {"DateSent": ">=2026-11-23"},
        # Twilio's published contract wants a moment: a date alone is refused.
        {"DateSent": "2026-11-23"},
        {"DateSent>": "2026-11-23"},
        {"DateSent<": "2026-11-23T00:00"},
        {"DateSent>": "20261123T000000Z"},
        {"PageToken": "PA1"},
        {"Page": "-1"},
        {"PageSize": "many"},
    ],
)
async def test_a_filter_that_cannot_be_read_is_refused(simulators: Simulators, query: dict[str, str]) -> None:
    url = f"{simulators.twilio_base}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with httpx.AsyncClient(auth=(ACCOUNT, TOKEN), trust_env=False) as client:
        answer = await client.get(url, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 20001)


async def test_a_page_without_its_token_is_the_first(simulators: Simulators, twilio: Client) -> None:
    await send_sms(twilio)
    url = f"{simulators.twilio_base}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with httpx.AsyncClient(auth=(ACCOUNT, TOKEN), trust_env=False) as client:
        answer = await client.get(url, params={"Page": "7"})
    assert len(answer.json()["messages"]) == 1


async def test_an_api_key_is_accepted_and_a_wrong_one_is_not(simulators: Simulators) -> None:
    message = await send_sms(twilio_sdk(simulators, *KEY, ACCOUNT))
    assert message.account_sid == ACCOUNT
    error = await refused_sms(twilio_sdk(simulators, ACCOUNT, "f" * 32))
    assert (error.status, error.code) == (401, 20003)
    other = await refused_sms(twilio_sdk(simulators, ACCOUNT, TOKEN, "AC" + "d" * 32))
    assert (other.status, other.code) == (404, 20404)


async def test_the_account_and_what_does_not_exist(twilio: Client) -> None:
    account = await asyncio.to_thread(twilio.api.v2010.accounts(ACCOUNT).fetch)
    assert account.status == "active"
    with pytest.raises(TwilioRestException) as caught:
        await asyncio.to_thread(twilio.messages("SM" + "0" * 32).fetch)
    assert caught.value.code == 20404


REFUSED = [
    ({"to": ""}, 21604),
    ({"from_": None}, 21603),
    ({"body": None}, 21602),
    ({"body": "a" * 1601}, 21617),
    ({"status_callback": "not a url"}, 21609),
    ({"status_callback": "ftp://example.com/x"}, 21609),
    ({"from_": "+15005550099"}, 21606),
    ({"from_": "+15005550001"}, 21212),
    ({"from_": "+15005550007"}, 21606),
    ({"from_": "+15005550008"}, 21611),
    ({"from_": None, "messaging_service_sid": "MG" + "0" * 32}, 21701),
    ({"to": "+15005550001"}, 21211),
    ({"to": "+15005550002"}, 21612),
    ({"to": "+15005550003"}, 21408),
    ({"to": "+15005550004"}, 21610),
    ({"to": "+15005550009"}, 21614),
    ({"to": "11987654321"}, 21211),
    ({"to": "+551187654321"}, 21211),
    ({"to": "+551133334444"}, 21614),
    ({"to": NUMBER}, 21266),
    ({"media_url": ["https://example.com/a.png"]}, 20501),
]


async def test_what_twilio_refuses_is_refused(
    subtests: pytest.Subtests, simulators: Simulators, twilio: Client
) -> None:
    for changes, code in REFUSED:
        with subtests.test(f"{code}: {changes}"):
            await simulators.control.reset()
            error = await refused_sms(twilio, **changes)
            assert error.code == code
            assert await simulators.control.messages("twilio") == []
            entries = await simulators.control.journal(simulator="twilio", verdict="refused")
            assert [entry["code"] for entry in entries] == [str(code)]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b'{"To": "+5511987654321", "From": "+15005550006", "Body": "oi"}', 400),
        ("application/x-www-form-urlencoded", b"To=%2B5511987654321&From=%2B15005550006&Body=\xff\xfe", 201),
        ("application/x-www-form-urlencoded", b"To=%2B5511987654321&From=%2B15005550006&Body=oi&New=1", 201),
    ],
)
async def test_only_a_form_is_read_and_what_it_does_not_know_is_ignored(
    simulators: Simulators, content_type: str, body: bytes, status: int
) -> None:
    url = f"{simulators.twilio_base}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with httpx.AsyncClient(auth=(ACCOUNT, TOKEN), trust_env=False) as client:
        answer = await client.post(url, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.json().get("code") == (21604 if status == 400 else None)


async def test_an_error_hides_the_end_of_the_number(twilio: Client) -> None:
    error = await refused_sms(twilio, to="+551187654321")
    assert error.msg.endswith("Invalid 'To' Phone Number: +55118765XXXX")


@pytest.mark.parametrize(
    ("to", "history"),
    [
        ("+5511900030003", ["queued", "sent", "undelivered"]),
        ("+5511900000001", ["queued", "sent"]),
        ("+5511900000002", ["queued", "sent", "failed", "delivered"]),
        ("+5511900000003", ["queued", "failed"]),
    ],
)
async def test_a_fixed_recipient_has_a_fixed_outcome(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver, to: str, history: list[str]
) -> None:
    await simulators.control.plan_webhooks("twilio", delays=[0.01])
    message = await send_sms(twilio, to=to, status_callback=f"{receiver.base}/outcome/{to}")
    webhooks = await receiver.wait_for("/outcome", len(history) - 1)
    assert [webhook.status for webhook in webhooks] == history[1:]
    kept = await simulators.control.message("twilio", message.sid)
    assert kept["history"] == history
    if to.endswith("30003"):
        assert webhooks[-1].fields["ErrorCode"] == "30003"


async def test_stop_applies_until_start(simulators: Simulators, twilio: Client, receiver: WebhookReceiver) -> None:
    for word in ("STOP", " parar ", "Sair"):
        await simulators.control.inbound("twilio", sender=ANA_PHONE, text=word)
        assert (await refused_sms(twilio)).code == 21610
        await simulators.control.inbound("twilio", sender=ANA_PHONE, text="START")
        assert (await send_sms(twilio)).status == "queued"
    webhooks = await receiver.wait_for("/webhooks/twilio", 6)
    assert all(is_signed_by_twilio(webhook) for webhook in webhooks)
    assert (webhooks[0].fields["FromCity"], webhooks[0].fields["FromCountry"]) == ("", "BR")
    without_blanks = {key: value for key, value in webhooks[0].fields.items() if value}
    # The signature covers blank fields by name: without them it cannot be verified.
    signature = webhooks[0].headers["X-Twilio-Signature"]
    assert not RequestValidator(TOKEN).validate(webhooks[0].url, without_blanks, signature)


async def test_a_report_on_order_reaches_the_callback(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    message = await send_sms(twilio, status_callback=f"{receiver.base}/manual")
    await simulators.control.report("twilio", message.sid, "undelivered", 30007)
    webhook = (await receiver.wait_for("/manual", 1))[0]
    assert (webhook.status, webhook.fields["ErrorCode"]) == ("undelivered", "30007")


async def test_the_journal_keeps_no_credentials(simulators: Simulators, twilio: Client) -> None:
    await send_sms(twilio)
    entry = (await simulators.control.journal(verdict="accepted"))[0]
    assert entry["headers"]["Authorization"] == "•••"
    assert TOKEN not in str(await simulators.control.everything())
    assert "Body=Ol%C3%A1%2C+Ana" in entry["body"]


SID_A, SID_B, SID_E = "AC" + "a" * 32, "SM" + "b" * 32, "SM" + "e" * 32
_INBOUND = {
    "ToCountry": "US", "SmsMessageSid": SID_E, "NumMedia": "0", "SmsSid": SID_E, "FromState": "", "FromCity": "",
    "SmsStatus": "received", "Body": "STOP", "FromCountry": "BR", "To": NUMBER, "NumSegments": "1",
    "MessageSid": SID_E, "AccountSid": SID_A, "From": "+5511912345678", "ApiVersion": "2010-04-01",
}  # fmt: skip
_DELIVERED = {
    "AccountSid": SID_A, "ApiVersion": "2010-04-01", "From": NUMBER, "MessageSid": SID_B,
    "MessageStatus": "delivered", "SmsSid": SID_B, "SmsStatus": "delivered", "To": "+5511912345678",
    "RawDlrDoneDate": "2611231402",
}  # fmt: skip
_JSON_HASH = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize(
    ("path", "fields", "signature"),
    [
        ("twilio/status?tenant=acme", _DELIVERED, "VKGkUUPhrTDP2bZM/9WkqqPppgs="),
        ("twilio/inbound", _INBOUND, "kQttXXf6ZONzRS86rlMvpahAvjw="),
        ("twilio/inbound", {k: v for k, v in _INBOUND.items() if v}, "q/PO9Rl8g0pDDKQfw3BuGSzdF/c="),
        (f"twilio/json?bodySHA256={_JSON_HASH}", {}, "yKR0f4L6cPYpIEhBw49m3dtyJ/4="),
    ],
)
def test_known_signatures_come_out(path: str, fields: dict[str, str], signature: str) -> None:
    assert sign("12345678901234567890123456789012", f"https://api.example.com/webhooks/{path}", fields) == signature


@pytest.mark.parametrize("seconds", ["0", "36001", "soon", "-1", "1.5"])
async def test_a_validity_period_that_is_none_is_refused(simulators: Simulators, twilio: Client, seconds: str) -> None:
    assert (await refused_sms(twilio, validity_period=seconds)).code == 20501
    assert await simulators.control.messages("twilio") == []


async def test_a_text_is_given_up_when_its_own_validity_period_is_over(simulators: Simulators, twilio: Client) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    brief, usual = await send_sms(twilio, validity_period=60), await send_sms(twilio)
    await simulators.control.advance("twilio", 61)
    found = {one["id"]: one["status"] for one in await simulators.control.messages("twilio")}
    assert found == {brief.sid: "failed", usual.sid: "queued"}
