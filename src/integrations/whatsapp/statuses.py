"""Reading Meta's reports on messages. https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components#statuses-object"""

from collections.abc import Mapping

from core.ports import OtherEvent, Price, Reference, ReportedStatus, StatusReport
from integrations.whatsapp.batch import Item
from integrations.whatsapp.errors import failure_of
from integrations.whatsapp.reading import Json, first, number, part, text
from integrations.whatsapp.words import message_id, moment, word

# Meta → ours. Somebody who listens to a voice message has opened it.
STATUSES: Mapping[str, ReportedStatus] = {
    "sent": ReportedStatus.SENT,
    "delivered": ReportedStatus.DELIVERED,
    "read": ReportedStatus.READ,
    "played": ReportedStatus.READ,
    "failed": ReportedStatus.FAILED,
}
_BILLABLE = "regular"


def status_report(item: Item) -> StatusReport | OtherEvent | None:
    """Read one report; None where it names no message or no status."""
    status = item.content
    wamid, said = message_id(status, "id"), word(status, "status")
    if wamid is None or said is None:
        return None
    key, reference = f"{wamid}:{said}", Reference.parse(text(status, "biz_opaque_callback_data"))
    known = STATUSES.get(said)
    if known is None:
        return OtherEvent(key, said, item.raw, reference=reference)
    return StatusReport(
        key,
        said,
        item.raw,
        status=known,
        price=_price(part(status, "pricing")),
        reference=reference,
        provider_message_id=wamid,
        failure=failure_of(number(first(status, "errors"), "code")) if known is ReportedStatus.FAILED else None,
        occurred_at=moment(status, "timestamp"),
    )


def _price(pricing: Json) -> Price | None:
    model, category = word(pricing, "pricing_model"), word(pricing, "category")
    if model is None or category is None:
        return None
    billable = pricing.get("billable")
    return Price(billable if isinstance(billable, bool) else pricing.get("type") == _BILLABLE, model, category)
