"""What is sealed as content is read back as it was, and each channel carries what it can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.messages.content import TEXT_LIMITS, check_content, content_from_json, content_to_json
from core.ports import ButtonParameter, Channel, Content, EmailContent, TemplateContent, TextContent

TEMPLATE = TemplateContent(
    "order_shipped",
    "pt-BR",
    header=[(None, "1042")],
    body=[("name", "Ana"), ("day", "amanhã")],
    buttons=[ButtonParameter(0, "url", "1042")],
    rendered="Ana, seu pedido chega amanhã.",
)


@given(st.one_of(st.builds(TextContent, st.text()), st.builds(EmailContent, st.text(), st.none() | st.text())))
def test_content_comes_back_as_it_was(content: Content) -> None:
    assert content_from_json(content_to_json(content)) == content


def test_a_template_comes_back_as_it_was() -> None:
    assert content_from_json(content_to_json(TEMPLATE)) == TEMPLATE


@pytest.mark.parametrize("channel", TEXT_LIMITS)
def test_a_text_is_carried_up_to_its_channels_limit(channel: Channel) -> None:
    check_content(TextContent("a" * TEXT_LIMITS[channel]), channel, path=[])
    with pytest.raises(InvalidInput, match="Shorten"):
        check_content(TextContent("a" * (TEXT_LIMITS[channel] + 1)), channel, path=[])


def test_only_whatsapp_carries_a_companys_template() -> None:
    check_content(TEMPLATE, Channel.WHATSAPP, path=[])
    for channel in (Channel.SMS, Channel.EMAIL):
        with pytest.raises(InvalidInput, match="templates"):
            check_content(TEMPLATE, channel, path=["input", "content"])
