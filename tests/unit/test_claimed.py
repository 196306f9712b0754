"""A claimed batch can be distinguished and looked up, whatever its content."""

from datetime import UTC, datetime
from uuid import UUID

from core.messages.claim import Claimed, Opened
from core.messages.record import MessageKey
from core.ports import ButtonParameter, Channel, TemplateContent

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def claimed(number: int, opened: Opened | None) -> Claimed:
    key = MessageKey(UUID(int=1), UUID(int=number))
    return Claimed(key, 1, 1, Channel.WHATSAPP, b"", b"", b"", NOON, opened=opened)


def test_a_template_whose_gaps_are_a_list_is_one_of_those_that_wait() -> None:
    content = TemplateContent("reminder", "pt-BR", body=[("1", "Ana")], buttons=[ButtonParameter(0, "URL", "x")])
    one, other = (claimed(number, Opened("+5511987654321", content)) for number in (1, 2))
    assert {one: 1.0, other: 2.0}[one] == 1.0
    assert one != other
    assert one == claimed(1, None)
