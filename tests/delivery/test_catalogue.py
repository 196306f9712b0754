"""The template catalogue of a provider: copied, kept current by one worker, and kept when the provider fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from core.errors import ProviderError, ProviderUnavailable
from core.pagination import PageRequest
from core.ports import (
    Channel,
    ProviderTemplate,
    TemplateApproval,
    TemplateButton,
    TemplateCategory,
    TemplatesChanged,
)
from core.ports.identity import DEFAULT_TENANT
from core.templates import queries
from core.templates.catalogue_sync import FIRST_PAUSE, PERIOD, CatalogueSync, copy_catalogue
from core.templates.starters import add_starters
from core.templates.tables import Template
from tests.delivery.pipeline import MessagePipeline, store_events

SHIPPED = ProviderTemplate(
    "9001",
    "order_shipped",
    "pt-BR",
    TemplateCategory.TRANSACTIONAL,
    TemplateApproval.APPROVED,
    "{{name}}, seu pedido chega {{day}}.",
    header="Pedido {{order}}",
    buttons=(TemplateButton(0, "URL", "https://loja.example.com/{{1}}"),),
    examples={"name": "Ana"},
)
OFFER = ProviderTemplate("9002", "offer", "pt-BR", TemplateCategory.MARKETING, TemplateApproval.PENDING, "Oi")


async def copy(pipeline: MessagePipeline, *listed: ProviderTemplate, integration: str = "whatsapp") -> int:
    async with pipeline.worker.transaction(DEFAULT_TENANT) as connection:
        return await copy_catalogue(connection, DEFAULT_TENANT, integration, Channel.WHATSAPP, listed)


async def listed(pipeline: MessagePipeline) -> dict[str, Template]:
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        page = await queries.templates_page(connection, DEFAULT_TENANT, PageRequest(100), queries.TemplateFilter())
    return {f"{one.name} {one.locale}": one for one in page.items}


async def by_id(pipeline: MessagePipeline, id: UUID) -> Template:
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        return (await queries.templates_by_id(connection, DEFAULT_TENANT, [id]))[id]


async def test_a_provider_catalogue_is_copied_completely(pipeline: MessagePipeline) -> None:
    assert await copy(pipeline, SHIPPED, OFFER) == 2
    found = (await listed(pipeline))["order_shipped pt-BR"]
    assert (found.channel, found.integration, found.category, found.approval) == (
        Channel.WHATSAPP,
        "whatsapp",
        TemplateCategory.TRANSACTIONAL,
        TemplateApproval.APPROVED,
    )
    assert (found.header, found.body, found.subject) == (SHIPPED.header, SHIPPED.body, None)
    assert (found.buttons, found.examples) == (SHIPPED.buttons, SHIPPED.examples)


async def test_copying_the_same_twice_changes_nothing(pipeline: MessagePipeline) -> None:
    await copy(pipeline, SHIPPED, OFFER)
    before = await listed(pipeline)
    assert await copy(pipeline, OFFER, SHIPPED) == 0
    assert await listed(pipeline) == before


async def test_what_changed_keeps_its_id(pipeline: MessagePipeline) -> None:
    await copy(pipeline, SHIPPED, OFFER)
    before = await listed(pipeline)
    assert await copy(pipeline, SHIPPED, replace(OFFER, approval=TemplateApproval.APPROVED, body="Olá")) == 1
    after = await listed(pipeline)
    assert after["order_shipped pt-BR"] == before["order_shipped pt-BR"]
    offer = after["offer pt-BR"]
    assert (offer.id, offer.approval, offer.body) == (before["offer pt-BR"].id, "APPROVED", "Olá")
    assert offer.updated_at > offer.created_at


async def test_what_vanished_is_no_longer_listed_nor_usable_and_can_come_back(pipeline: MessagePipeline) -> None:
    await copy(pipeline, SHIPPED, OFFER)
    id = (await listed(pipeline))["order_shipped pt-BR"].id
    assert await copy(pipeline, OFFER) == 1
    assert list(await listed(pipeline)) == ["offer pt-BR"]
    gone = await by_id(pipeline, id)
    assert gone.gone_at is not None
    assert gone.approval is TemplateApproval.DISABLED
    assert await copy(pipeline, SHIPPED, OFFER) == 1
    back = (await listed(pipeline))["order_shipped pt-BR"]
    assert (back.id, back.approval, back.gone_at) == (id, TemplateApproval.APPROVED, None)


async def test_after_a_switch_the_copies_are_those_of_the_provider_that_is_chosen(pipeline: MessagePipeline) -> None:
    await copy(pipeline, SHIPPED, OFFER)
    before = await listed(pipeline)
    approved = replace(OFFER, provider_id="77", approval=TemplateApproval.APPROVED)
    # The other provider has one of them, under an id of its own.
    assert await copy(pipeline, approved, integration="another") == 2
    after = await listed(pipeline)
    assert list(after) == ["offer pt-BR"]
    offer = after["offer pt-BR"]
    assert (offer.id, offer.integration, offer.approval) == (before["offer pt-BR"].id, "another", "APPROVED")
    assert (await by_id(pipeline, before["order_shipped pt-BR"].id)).approval is TemplateApproval.DISABLED
    assert await copy(pipeline, approved, integration="another") == 0
    assert await copy(pipeline, SHIPPED, OFFER) == 2
    assert {one.integration for one in (await listed(pipeline)).values()} == {"whatsapp"}


async def test_paused_and_disabled_are_distinguished_even_with_an_earlier_version_writing(
    pipeline: MessagePipeline,
) -> None:
    for approval in (TemplateApproval.PAUSED, TemplateApproval.DISABLED):
        assert await copy(pipeline, replace(OFFER, approval=approval)) == 1
        assert await copy(pipeline, replace(OFFER, approval=approval)) == 0
        assert (await listed(pipeline))["offer pt-BR"].approval is approval
        async with pipeline.worker.transaction(DEFAULT_TENANT) as connection:
            for wanted, count in ((approval, 1), (queries.COARSE_APPROVAL[approval], 0)):
                page = await queries.templates_page(
                    connection, DEFAULT_TENANT, PageRequest(10), queries.TemplateFilter(approvals=[wanted])
                )
                assert len(page.items) == count, wanted
    # A process that does not know the column writes the state and leaves the detail as it was.
    await pipeline.tamper("UPDATE templates SET approval = 'APPROVED' WHERE name = 'offer'")
    assert (await listed(pipeline))["offer pt-BR"].approval is TemplateApproval.APPROVED
    # One of a later version may write details that this version does not know.
    await pipeline.tamper("UPDATE templates SET approval = 'PENDING', approval_detail = 'ASLEEP' WHERE name = 'offer'")
    assert (await listed(pipeline))["offer pt-BR"].approval is TemplateApproval.PENDING


async def test_an_empty_catalogue_removes_only_provider_templates(pipeline: MessagePipeline) -> None:
    async with pipeline.worker.transaction(DEFAULT_TENANT) as connection:
        await add_starters(connection, DEFAULT_TENANT)
    ours = await listed(pipeline)
    await copy(pipeline, SHIPPED)
    assert await copy(pipeline) == 1
    assert await listed(pipeline) == ours


async def test_a_provider_cannot_overwrite_a_template_of_ours(pipeline: MessagePipeline) -> None:
    await copy(pipeline, SHIPPED)
    await pipeline.tamper("UPDATE templates SET integration = NULL, body = 'nossa'")
    assert await copy(pipeline, SHIPPED) == 0
    assert [one.body for one in (await listed(pipeline)).values()] == ["nossa"]


async def test_a_template_that_cannot_be_stored_is_left_out_and_the_others_are_stored(
    pipeline: MessagePipeline,
) -> None:
    bad = [replace(OFFER, name="nul", body="a\x00"), replace(OFFER, name="half", examples={"a": "\ud800"})]
    assert await copy(pipeline, *bad, SHIPPED, SHIPPED) == 1


@pytest.mark.slow
async def test_six_thousand_templates_are_copied(pipeline: MessagePipeline) -> None:
    many = [replace(OFFER, provider_id=str(n), name=f"offer_{n}") for n in range(6_000)]
    assert await copy(pipeline, *many) == 6_000
    assert await copy(pipeline, *many[1:]) == 1


@dataclass
class Company:
    """Lists what it has, or fails as it is told; `gate` holds every call while it is closed."""

    templates: Sequence[ProviderTemplate] = (SHIPPED,)
    error: Exception | None = None
    calls: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def list(self) -> Sequence[ProviderTemplate]:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.templates


@pytest.fixture
def company() -> Company:
    company = Company()
    company.gate.set()
    return company


@pytest.fixture
def keeper(pipeline: MessagePipeline, company: Company) -> CatalogueSync:
    return CatalogueSync("whatsapp", Channel.WHATSAPP, company, pipeline.worker)


async def due_in(pipeline: MessagePipeline) -> timedelta:
    async with pipeline.worker.transaction() as connection:
        found: timedelta = (
            await connection.execute(text("SELECT due_at - now() FROM template_catalogues"))
        ).scalar_one()
    return found


async def test_a_catalogue_is_read_at_once_and_then_every_few_minutes(
    pipeline: MessagePipeline, keeper: CatalogueSync, company: Company
) -> None:
    assert [await keeper.read_if_due() for _ in range(3)] == [True, False, False]
    assert company.calls == 1
    assert PERIOD - timedelta(seconds=30) < await due_in(pipeline) <= PERIOD
    assert list(await listed(pipeline)) == ["order_shipped pt-BR"]
    await pipeline.tamper("UPDATE template_catalogues SET due_at = now()")
    assert await keeper.read_if_due()


async def test_of_many_workers_one_reads(pipeline: MessagePipeline, company: Company) -> None:
    keepers = [CatalogueSync("whatsapp", Channel.WHATSAPP, company, pipeline.worker) for _ in range(8)]
    company.gate.clear()
    reading = [asyncio.create_task(one.read_if_due()) for one in keepers]
    await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    company.gate.set()
    assert sorted(await asyncio.gather(*reading)) == [False] * 7 + [True]
    assert company.calls == 1


@pytest.mark.parametrize("error", [ProviderUnavailable("Meta is away.", provider="whatsapp"), ValueError("odd")])
async def test_a_failing_provider_is_asked_again_with_growing_pauses(
    pipeline: MessagePipeline, keeper: CatalogueSync, company: Company, error: Exception
) -> None:
    company.error = error
    pauses = []
    for _ in range(3):
        assert await keeper.read_if_due() is False
        pauses.append(await due_in(pipeline))
        await pipeline.tamper("UPDATE template_catalogues SET due_at = now()")
    assert pauses == sorted(pauses)
    assert pauses[0] <= FIRST_PAUSE < pauses[-1] <= 4 * FIRST_PAUSE
    await pipeline.tamper("UPDATE template_catalogues SET failures = 1000")
    await keeper.read_if_due()
    assert await due_in(pipeline) <= PERIOD
    await pipeline.tamper("UPDATE template_catalogues SET due_at = now()")
    company.error = None
    assert await keeper.read_if_due()
    assert await due_in(pipeline) > 4 * FIRST_PAUSE


async def test_a_failure_takes_nothing_away(pipeline: MessagePipeline, keeper: CatalogueSync, company: Company) -> None:
    await keeper.read_if_due()
    before = await listed(pipeline)
    company.error = ProviderError("No.", provider="whatsapp")
    await pipeline.tamper("UPDATE template_catalogues SET due_at = now()")
    await keeper.read_if_due()
    assert await listed(pipeline) == before


async def test_a_changed_template_is_read_soon_after_its_webhook(
    pipeline: MessagePipeline, keeper: CatalogueSync, company: Company
) -> None:
    await keeper.read_if_due()
    company.templates = (replace(SHIPPED, approval=TemplateApproval.PENDING),)
    await store_events(
        pipeline.app, pipeline.sealer, "whatsapp", [TemplatesChanged("k1", "message_template_status_update", "{}")]
    )
    assert await pipeline.apply() == 1
    assert await keeper.read_if_due()
    assert [one.approval for one in (await listed(pipeline)).values()] == ["PENDING"]
    async with pipeline.worker.transaction() as connection:
        assert (await connection.execute(text("SELECT status FROM inbox"))).scalar_one() == "PROCESSED"


async def test_what_changed_while_it_was_being_read_is_read_again(
    pipeline: MessagePipeline, keeper: CatalogueSync, company: Company
) -> None:
    company.gate.clear()
    reading = asyncio.create_task(keeper.read_if_due())
    while not company.calls:
        await asyncio.sleep(0.005)
    await store_events(
        pipeline.app, pipeline.sealer, "whatsapp", [TemplatesChanged("k1", "message_template_status_update", "{}")]
    )
    await pipeline.apply()
    company.gate.set()
    assert await reading
    assert await keeper.read_if_due()
    assert company.calls == 2
