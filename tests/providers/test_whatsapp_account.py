"""The WhatsApp account: templates page by page, and the state of number and token."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from core.errors import OutcomeUnknown, ProviderError, ProviderMisconfigured, ProviderUnavailable
from core.ports import (
    Finding,
    IntegrationContext,
    Mode,
    ProviderTemplate,
    Severity,
    TemplateApproval,
    TemplateButton,
    TemplateCategory,
)
from integrations.http_client import HttpClient
from integrations.whatsapp import connect
from integrations.whatsapp.adapter import GraphApi
from integrations.whatsapp.probe import WhatsAppProbe
from integrations.whatsapp.settings import Settings
from integrations.whatsapp.templates import APPROVALS, WhatsAppTemplates, read_template
from tests.providers.factories import whatsapp_settings
from tests.providers.servers import Connection, scripted_server
from tests.servers import WHATSAPP, Simulators

TOKEN = WHATSAPP["WHATSAPP_ACCESS_TOKEN"]
Answering = Callable[[str], object]
"""What to answer to a path with its query."""


@asynccontextmanager
async def meta(answer: Answering) -> AsyncIterator[Settings]:
    """A Meta that answers each question as a test says; gives the settings that lead to it."""

    async def talk(line: Connection) -> None:
        while True:
            path = (await line.request()).split(b" ", 2)[1].decode()
            await line.answer(200, json.dumps(answer(path)).encode())

    async with scripted_server(talk) as wire:
        yield whatsapp_settings(wire.base)


async def listed(settings: Settings, http: HttpClient) -> Sequence[ProviderTemplate]:
    return await WhatsAppTemplates(settings, GraphApi(settings, http)).list()


async def probed(settings: Settings, http: HttpClient) -> Sequence[Finding]:
    return await WhatsAppProbe(settings, GraphApi(settings, http)).check()


def codes(findings: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in findings]


async def test_all_templates_are_read_in_our_terms(simulators: Simulators, http: HttpClient) -> None:
    templates = await listed(whatsapp_settings(simulators.whatsapp_base), http)
    found = {(template.name, template.locale): template for template in templates}
    assert len(templates) == len(found) == 10
    assert found["order_shipped", "pt-BR"] == ProviderTemplate(
        provider_id="900000000000002",
        name="order_shipped",
        locale="pt-BR",
        category=TemplateCategory.TRANSACTIONAL,
        approval=TemplateApproval.APPROVED,
        body="{{name}}, seu pedido está a caminho e chega {{day}}.",
        header="Pedido {{order}}",
        buttons=(TemplateButton(0, "URL", "https://loja.example.com/pedidos/{{1}}"),),
        examples={"order": "1042", "name": "Ana", "day": "amanhã"},
    )
    reminder = found["appointment_reminder", "pt-BR"]
    assert (reminder.header, reminder.buttons) == (None, ())
    assert reminder.examples == {"1": "Ana", "2": "24/11 às 10:00"}
    code = found["verification_code", "pt-BR"]
    assert (code.category, code.buttons) == (TemplateCategory.AUTHENTICATION, (TemplateButton(0, "OTP", "{{1}}"),))
    offer = found["spring_offer", "pt-BR"]
    assert (offer.category, offer.buttons) == (
        TemplateCategory.MARKETING,
        (TemplateButton(0, "COPY_CODE", "{{1}}"),),
    )
    assert {template.name: template.approval for template in templates if "offer" in template.name} == {
        "spring_offer": TemplateApproval.APPROVED,
        "summer_offer": TemplateApproval.PENDING,
        "autumn_offer": TemplateApproval.REJECTED,
        "winter_offer": TemplateApproval.PAUSED,
        "last_offer": TemplateApproval.DISABLED,
    }


META_STATES = (
    *("APPROVED", "ARCHIVED", "DELETED", "DISABLED", "FLAGGED", "IN_APPEAL", "LIMIT_EXCEEDED", "LOCKED"),
    *("PAUSED", "PENDING", "PENDING_DELETION", "REINSTATED", "REJECTED", "UNARCHIVED"),
)
"""Every value of `event` in Meta's reference of the webhook message_template_status_update."""


def test_every_state_that_meta_names_is_one_of_ours() -> None:
    assert sorted(APPROVALS) == sorted(META_STATES)
    named = {state: APPROVALS[state].value for state in ("APPROVED", "PENDING", "PAUSED", "REJECTED", "DISABLED")}
    assert named == {state: state for state in named}


def template(number: int) -> dict[str, str]:
    return {"id": str(number), "name": f"template_{number}", "language": "pt_BR", "status": "APPROVED"}


async def test_pages_are_followed_by_cursor_and_never_by_address(http: HttpClient) -> None:
    def page(path: str) -> object:
        after = parse_qs(urlsplit(path).query).get("after", ["0"])[0]
        begin = int(after)
        following = {"next": "https://evil.example.com/steal"} if begin < 4 else {}
        return {
            "data": [template(begin), template(begin + 1)],
            "paging": {"cursors": {"after": str(begin + 2)}, **following},
        }

    async with meta(page) as settings:
        assert [one.provider_id for one in await listed(settings, http)] == ["0", "1", "2", "3", "4", "5"]


async def test_a_list_without_end_is_given_up(http: HttpClient) -> None:
    async with meta(lambda path: {"data": [], "paging": {"cursors": {"after": "x"}, "next": "y"}}) as settings:
        with pytest.raises(OutcomeUnknown, match="pages"):
            await listed(settings, http)


async def test_what_is_no_template_is_left_out(http: HttpClient) -> None:
    odd = [None, 1, {}, {"id": "1"}, {"id": 1, "name": "x", "language": "y"}, template(7)]
    async with meta(lambda path: {"data": odd, "paging": {}}) as settings:
        assert [one.provider_id for one in await listed(settings, http)] == ["7"]


@pytest.mark.parametrize(
    "components",
    [
        None,
        "x",
        [None, 1, {}],
        [{"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["x"]}}],
        [{"type": "BODY"}, {"type": "BUTTONS"}],
        [{"type": "BODY", "text": 1, "example": {"body_text": "x"}}, {"type": "BUTTONS", "buttons": [None, "x"]}],
        [{"type": "BODY", "example": {"body_text": [[1, None]], "body_text_named_params": [None, {"example": "x"}]}}],
    ],
)
def test_a_template_with_odd_parts_is_read_without_them(components: object) -> None:
    found = read_template({**template(1), "components": components})
    assert found is not None
    assert (found.header, found.body, list(found.buttons), found.examples) == (None, "", [], {})


def test_a_header_has_its_own_example() -> None:
    components = [
        {"type": "HEADER", "format": "TEXT", "text": "{{1}}", "example": {"header_text": ["Pedido 1042"]}},
        {"type": "BODY", "text": "Olá, {{1}} e {{2}}", "example": {"body_text": [["Ana", "Bia"]]}},
    ]
    found = read_template({**template(1), "components": components})
    assert found is not None
    assert (found.header, found.examples) == ("{{1}}", {"1": "Ana", "2": "Bia"})


@pytest.mark.parametrize("state", ["", "SOMETHING_NEW", None])
def test_an_unknown_state_or_category_has_a_safe_default(state: str | None) -> None:
    found = read_template({**template(1), "status": state, "category": state})
    assert found is not None
    assert (found.approval, found.category) == (TemplateApproval.PENDING, TemplateCategory.MARKETING)
    assert state not in APPROVALS


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"WHATSAPP_ACCESS_TOKEN": "EAAother"}, ProviderMisconfigured),
        ({"WHATSAPP_BUSINESS_ACCOUNT_ID": "99999"}, ProviderMisconfigured),
        ({"WHATSAPP_API_BASE": "http://127.0.0.1:1"}, ProviderUnavailable),
    ],
)
async def test_templates_that_cannot_be_read_are_an_error(
    simulators: Simulators, http: HttpClient, wrong: dict[str, str], error: type[ProviderError]
) -> None:
    settings = whatsapp_settings(**{"base": simulators.whatsapp_base, **wrong})
    with pytest.raises(error):
        await listed(settings, http)


async def test_a_healthy_account_has_no_findings(simulators: Simulators, http: HttpClient) -> None:
    assert await probed(whatsapp_settings(simulators.whatsapp_base), http) == []
    asked = await simulators.control.journal(simulator="whatsapp")
    assert [(entry["method"], entry["verdict"]) for entry in asked] == [("GET", "answered")] * 2


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"token": "expired"}, ["WHATSAPP_REFUSES_US"]),
        ({"requires_proof": True}, ["WHATSAPP_REFUSES_US"]),
        ({"number_status": "RESTRICTED"}, ["WHATSAPP_NUMBER_NOT_CONNECTED"]),
        ({"quality": "RED"}, ["WHATSAPP_QUALITY_LOW"]),
        ({"quality": "YELLOW"}, ["WHATSAPP_QUALITY_LOW"]),
        ({"quality": "UNKNOWN"}, []),
        ({"permissions": ["whatsapp_business_messaging"]}, ["WHATSAPP_PERMISSION_MISSING"]),
    ],
)
async def test_an_account_that_is_not_well_is_found(
    simulators: Simulators, http: HttpClient, conditions: dict[str, object], expected: list[str]
) -> None:
    await simulators.control.act("whatsapp", "conditions", **conditions)
    assert codes(await probed(whatsapp_settings(simulators.whatsapp_base), http)) == expected


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ({"WHATSAPP_ACCESS_TOKEN": "EAAother"}, "WHATSAPP_ACCESS_TOKEN"),
        ({"WHATSAPP_PHONE_NUMBER_ID": "99999"}, "WHATSAPP_PHONE_NUMBER_ID"),
    ],
)
async def test_wrong_credentials_are_found(
    simulators: Simulators, http: HttpClient, wrong: dict[str, str], variable: str
) -> None:
    [finding] = await probed(whatsapp_settings(simulators.whatsapp_base, **wrong), http)
    assert (finding.code, finding.severity) == ("WHATSAPP_REFUSES_US", Severity.CRITICAL)
    assert variable in finding.fix


def described(**data: object) -> Answering:
    return lambda path: {"data": data} if "debug_token" in path else {"status": "CONNECTED"}


def in_days(days: int) -> int:
    return int((datetime.now(UTC) + timedelta(days=days)).timestamp())


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ({}, []),
        ({"is_valid": True, "expires_at": 0}, []),
        ({"is_valid": True, "expires_at": in_days(30)}, []),
        ({"is_valid": True, "expires_at": in_days(3)}, ["WHATSAPP_TOKEN_EXPIRES"]),
        ({"is_valid": False, "expires_at": "soon"}, ["WHATSAPP_TOKEN_INVALID"]),
        ({"is_valid": True, "expires_at": 10**30, "scopes": "all"}, []),
        ({"scopes": ["email"]}, ["WHATSAPP_PERMISSION_MISSING"] * 2),
    ],
)
async def test_what_meta_says_about_the_token_is_reported(
    http: HttpClient, token: dict[str, object], expected: list[str]
) -> None:
    async with meta(described(**token)) as settings:
        assert codes(await probed(settings, http)) == expected


async def test_a_token_that_may_not_ask_about_itself_is_no_finding(simulators: Simulators, http: HttpClient) -> None:
    await simulators.control.arm("whatsapp", "code", next=1, code="100", at="token")
    assert await probed(whatsapp_settings(simulators.whatsapp_base), http) == []


@pytest.mark.parametrize("answer", [[], "x", None])
async def test_an_unreadable_answer_is_a_finding(http: HttpClient, answer: object) -> None:
    async with meta(lambda path: answer) as settings:
        assert codes(await probed(settings, http)) == ["WHATSAPP_UNREACHABLE"]


async def test_a_meta_out_of_reach_is_found(http: HttpClient) -> None:
    assert codes(await probed(whatsapp_settings(), http)) == ["WHATSAPP_UNREACHABLE"]


async def test_an_integration_at_work_answers_for_its_number_and_shows_no_secret(simulators: Simulators) -> None:
    settings = whatsapp_settings(simulators.whatsapp_base, WHATSAPP_APP_SECRET_PROOF="true")
    connected = connect(settings, IntegrationContext("https://api.example.com/webhooks/whatsapp"))
    assert (connected.mode, connected.own_addresses) == (Mode.SIMULATED, [WHATSAPP["WHATSAPP_PHONE_NUMBER_ID"]])
    shown = f"{connected!r} {settings!r} {settings.model_dump_json()}"
    hidden = ("WHATSAPP_ACCESS_TOKEN", "WHATSAPP_APP_SECRET", "WHATSAPP_WEBHOOK_VERIFY_TOKEN")
    assert [name for name in hidden if WHATSAPP[name] in shown] == []
    await connected.close()


async def test_the_token_is_in_no_finding(simulators: Simulators, http: HttpClient) -> None:
    await simulators.control.act("whatsapp", "conditions", permissions=[], quality="RED", number_status="BANNED")
    findings = await probed(whatsapp_settings(simulators.whatsapp_base), http)
    assert len(findings) == 2
    assert TOKEN not in str(findings)
