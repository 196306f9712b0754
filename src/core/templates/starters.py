"""Three sample templates in Brazilian Portuguese, for common messages of a business."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.ports import Channel, TemplateApproval, TemplateCategory
from core.templates.tables import templates


@dataclass(frozen=True, slots=True)
class Starter:
    """A sample template; its id is the same in every database, so that examples can name it."""

    id: UUID
    channel: Channel
    name: str
    body: str
    subject: str | None = None
    html: str | None = None
    examples: Mapping[str, str] = field(default_factory=dict)
    locale: str = "pt-BR"


STARTERS: Sequence[Starter] = (
    Starter(
        UUID("01900000-0000-7000-8000-000000000101"),
        Channel.SMS,
        "order_shipped",
        "Olá, {{name|cliente}}! Seu pedido {{order.number}} saiu para entrega e chega {{day}}.",
        examples={"name": "Ana", "order.number": "1042", "day": "amanhã"},
    ),
    Starter(
        UUID("01900000-0000-7000-8000-000000000102"),
        Channel.SMS,
        "appointment_reminder",
        "{{name}}, lembrete da sua consulta: {{when}}, {{place}}. Para remarcar, responda esta mensagem.",
        examples={"name": "Ana", "when": "24/11 às 10:00", "place": "Rua Augusta, 100"},
    ),
    Starter(
        UUID("01900000-0000-7000-8000-000000000103"),
        Channel.EMAIL,
        "payment_receipt",
        "Olá, {{name|cliente}}!\n\nRecebemos seu pagamento de {{amount}}, referente a {{order.number}}.\n\nObrigado!\n",
        subject="Pagamento recebido: {{amount}}",
        html="<p>Olá, {{name|cliente}}!</p>\n"
        "<p>Recebemos seu pagamento de <strong>{{amount}}</strong>, referente a {{order.number}}.</p>\n"
        "<p>Obrigado!</p>\n",
        examples={"name": "Ana", "amount": "R$ 129,90", "order.number": "pedido 1042"},
    ),
)


async def add_starters(connection: AsyncConnection, tenant: UUID) -> Sequence[Starter]:
    """Add the sample templates that a tenant lacks, and return them; existing ones stay as they are."""
    rows = [
        {
            "tenant_id": tenant,
            "id": one.id,
            "channel": one.channel.value,
            "name": one.name,
            "locale": one.locale,
            "category": TemplateCategory.TRANSACTIONAL.value,
            "approval": TemplateApproval.NOT_NEEDED.value,
            "subject": one.subject,
            "body": one.body,
            "html": one.html,
            "examples": dict(one.examples),
        }
        for one in STARTERS
    ]
    planted = await connection.execute(
        insert(templates).values(rows).on_conflict_do_nothing().returning(templates.c.id)
    )
    new = set(planted.scalars())
    return [one for one in STARTERS if one.id in new]
