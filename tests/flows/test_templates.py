"""A template: read from the provider, sent outside the service window, and sent as text by SMS."""

from typing import Any

from tests.helpers import until
from tests.running_system import System

FIND = """
query($filter: TemplateFilter) { templates(first: 100, filter: $filter) { nodes { id name locale approval } } }
"""
TRY = """
mutation($input: SendMessageInput!) {
  sendMessage(input: $input) { message { id } errors { __typename ... on TemplateNotUsableError { missingVariables } } }
}
"""
FULL = {"order": "1042", "name": "Ana", "day": "amanhã", "button.0": "1042"}
OVER_WHATSAPP, SMS = {"channel": "WHATSAPP"}, {"channel": "SMS"}
FIELD = "message_template_status_update"


async def approvals(system: System) -> dict[str, str]:
    """Return the approval of each WhatsApp template, by name and language."""
    found = await system.ask(FIND, filter={"channels": ["WHATSAPP"]})
    return {f"{one['name']} {one['locale']}": one["approval"] for one in found["templates"]["nodes"]}


async def template(system: System, name: str, locale: str = "pt-BR") -> str:
    """Wait until a WhatsApp template is known; return its id."""
    condition = {"channels": ["WHATSAPP"], "search": name}

    async def look() -> list[dict[str, Any]]:
        return list((await system.ask(FIND, filter=condition))["templates"]["nodes"])

    found = await until(look, lambda nodes: any(one["locale"] == locale for one in nodes), 20)
    return next(str(one["id"]) for one in found if (one["name"], one["locale"]) == (name, locale))


async def use(system: System, name: str, values: dict[str, str]) -> dict[str, Any]:
    variables = [{"key": key, "value": value} for key, value in values.items()]
    return {"template": {"templateId": await template(system, name), "variables": variables}}


async def test_the_providers_templates_are_synchronised(system: System) -> None:
    known = await until(lambda: approvals(system), lambda known: len(known) >= 10, 20)
    assert known["order_shipped pt-BR"] == known["order_shipped en-US"] == "APPROVED"
    assert (known["summer_offer pt-BR"], known["winter_offer pt-BR"]) == ("PENDING", "PAUSED")
    assert (known["autumn_offer pt-BR"], known["last_offer pt-BR"]) == ("REJECTED", "DISABLED")


async def test_a_template_is_delivered_outside_the_service_window(system: System, phone: str) -> None:
    content = await use(system, "order_shipped", FULL)
    message_id = await system.send(to={"phone": phone}, content=content, route=[OVER_WHATSAPP])
    await until(lambda: system.status(message_id), lambda status: status in ("DELIVERED", "READ"))
    [taken] = await system.control.messages("whatsapp", to=phone)
    assert taken["text"] == "Pedido 1042\nAna, seu pedido está a caminho e chega amanhã."


async def test_a_template_without_a_parameter_is_refused(system: System, phone: str) -> None:
    content = await use(system, "order_shipped", {"name": "Ana"})
    given = {"to": {"phone": phone}, "content": content, "route": [OVER_WHATSAPP]}
    payload = (await system.ask(TRY, input=given))["sendMessage"]
    assert payload["message"] is None
    [error] = payload["errors"]
    assert error == {"__typename": "TemplateNotUsableError", "missingVariables": ["order", "day", "button.0"]}
    assert await system.control.messages("whatsapp", to=phone) == []


async def test_a_refused_template_is_sent_by_sms_with_its_text(system: System, phone: str) -> None:
    await system.control.arm("whatsapp", "code", next=1, to=phone, code="132001")
    content = await use(system, "order_shipped", FULL)
    message_id = await system.send(to={"phone": phone}, content=content, route=[OVER_WHATSAPP, SMS])
    shown = await system.comes_to(message_id, "DELIVERED", 20)
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["REJECTED", "ACCEPTED"]
    [taken] = await system.control.messages("twilio", to=phone)
    assert taken["body"] == "Pedido 1042\nAna, seu pedido está a caminho e chega amanhã."


async def test_a_template_that_the_provider_pauses_is_soon_shown_as_paused(system: System) -> None:
    await until(lambda: approvals(system), lambda known: known.get("spring_offer pt-BR") == "APPROVED", 20)
    await system.control.act("whatsapp", "template", name="spring_offer", status="PAUSED")
    event = {"event": "PAUSED", "message_template_name": "spring_offer", "message_template_language": "pt_BR"}
    await system.control.act("whatsapp", "webhook", field=FIELD, value=event)
    await until(lambda: approvals(system), lambda known: known["spring_offer pt-BR"] == "PAUSED", 20)
