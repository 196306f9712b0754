"""Reads the templates of our account at Meta. https://developers.facebook.com/docs/graph-api/reference/whats-app-business-account/message_templates"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.errors import OutcomeUnknown
from core.ports import ProviderTemplate, TemplateApproval, TemplateButton, TemplateCategory
from integrations.whatsapp.adapter import GraphApi
from integrations.whatsapp.errors import PROVIDER
from integrations.whatsapp.payloads import list_under, object_under, text_under
from integrations.whatsapp.settings import Settings

_FIELDS = "id,name,language,status,category,components"
_PAGE, _MAX_PAGES = 100, 100
"""An account has at most 6,000 templates."""
_PLACEHOLDER = re.compile(r"\{\{\w+\}\}")

# Meta → ours: the states of a template, and those that only webhooks name. A flagged or locked one can still be sent.
# https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_status_update
APPROVALS: Mapping[str, TemplateApproval] = {
    "APPROVED": TemplateApproval.APPROVED,
    "REINSTATED": TemplateApproval.APPROVED,
    "UNARCHIVED": TemplateApproval.APPROVED,
    "FLAGGED": TemplateApproval.APPROVED,
    "LOCKED": TemplateApproval.APPROVED,
    "PENDING": TemplateApproval.PENDING,
    "IN_APPEAL": TemplateApproval.PENDING,
    "PAUSED": TemplateApproval.PAUSED,
    "REJECTED": TemplateApproval.REJECTED,
    "LIMIT_EXCEEDED": TemplateApproval.REJECTED,
    "DISABLED": TemplateApproval.DISABLED,
    "ARCHIVED": TemplateApproval.DISABLED,
    "PENDING_DELETION": TemplateApproval.DISABLED,
    "DELETED": TemplateApproval.DISABLED,
}
CATEGORIES: Mapping[str, TemplateCategory] = {
    "UTILITY": TemplateCategory.TRANSACTIONAL,
    "MARKETING": TemplateCategory.MARKETING,
    "AUTHENTICATION": TemplateCategory.AUTHENTICATION,
}


class WhatsAppTemplates:
    """The templates of the business account."""

    def __init__(self, settings: Settings, graph: GraphApi) -> None:
        self._graph = graph
        self._path = f"{settings.business_account_id}/message_templates"

    async def list(self) -> Sequence[ProviderTemplate]:
        found: list[ProviderTemplate] = []
        query = {"fields": _FIELDS, "limit": str(_PAGE)}
        for _ in range(_MAX_PAGES):
            page = await self._graph.get("list templates", self._path, **query)
            found += (template for data in list_under(page, "data") if (template := read_template(data)))
            paging = object_under(page, "paging")
            after = text_under(object_under(paging, "cursors"), "after")
            # The next page's address comes from Meta; our token goes only to the address in the settings.
            if not after or not text_under(paging, "next"):
                return found
            query["after"] = after
        raise OutcomeUnknown(f"Meta's list has more than {_MAX_PAGES} pages.", provider=PROVIDER)


def read_template(data: Any) -> ProviderTemplate | None:
    """Read one template; None where it has no id, name or language. An unknown state is not approved yet."""
    found, name, language = text_under(data, "id"), text_under(data, "name"), text_under(data, "language")
    if not found or not name or not language:
        return None
    components = {kind: one for one in list_under(data, "components") if (kind := text_under(one, "type"))}
    header, body = components.get("HEADER"), components.get("BODY")
    return ProviderTemplate(
        provider_id=found,
        name=name,
        locale=language.replace("_", "-"),
        category=CATEGORIES.get(text_under(data, "category") or "", TemplateCategory.MARKETING),
        approval=APPROVALS.get(text_under(data, "status") or "", TemplateApproval.PENDING),
        body=text_under(body, "text") or "",
        header=text_under(header, "text") if text_under(header, "format") == "TEXT" else None,
        buttons=tuple(_buttons(list_under(components.get("BUTTONS"), "buttons"))),
        # A header's numbered placeholder has the name of the body's first, whose example takes precedence.
        examples=dict([*_examples(header, "header_text"), *_examples(body, "body_text")]),
    )


def _buttons(buttons: Sequence[Any]) -> Iterator[TemplateButton]:
    """Yield the buttons with a placeholder: an address that ends in one, and a code."""
    for index, button in enumerate(buttons):
        kind, url = text_under(button, "type") or "", text_under(button, "url") or ""
        if kind == "URL" and _PLACEHOLDER.search(url):
            yield TemplateButton(index, kind, url)
        elif kind in ("COPY_CODE", "OTP"):
            yield TemplateButton(index, kind, "{{1}}")


def _examples(component: Any, name: str) -> Iterator[tuple[str, str]]:
    example = object_under(component, "example")
    for named in list_under(example, f"{name}_named_params"):
        gap, value = text_under(named, "param_name"), text_under(named, "example")
        if gap and value is not None:
            yield gap, value
    given: Sequence[Any] = list_under(example, name)
    # A body's examples are a list of lists, one for each way to fill it.
    rows = given[0] if given and isinstance(given[0], list) else given
    for position, value in enumerate(rows, 1):
        if isinstance(value, str):
            yield str(position), value
