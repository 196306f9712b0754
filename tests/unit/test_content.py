"""Sealed content is read back unchanged, and each channel carries what it can."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.ports import ButtonParameter, Channel, Content, EmailContent, TemplateContent, TextContent
from core.ports.content import (
    TEXT_LIMITS,
    Filled,
    check_content,
    content_for,
    content_from_json,
    content_to_json,
    filled_from_json,
)

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


@pytest.mark.parametrize("content", [TEMPLATE, TextContent("Olá"), EmailContent("Oi", html="<p>Oi</p>")])
def test_what_a_message_was_filled_from_is_kept_beside_it(content: Content) -> None:
    filled = Filled(UUID(int=7), {"order.number": "1042"})
    written = content_to_json(content, filled)
    assert content_from_json(written) == content
    assert filled_from_json(written) == filled
    assert filled_from_json(content_to_json(content)) is None


def test_a_provider_template_is_sent_as_a_template_or_as_text() -> None:
    for channel in (Channel.WHATSAPP, Channel.SMS):
        check_content(TEMPLATE, channel, path=[])
    assert content_for(TEMPLATE, Channel.WHATSAPP) is TEMPLATE
    assert content_for(TEMPLATE, Channel.SMS) == TextContent(TEMPLATE.rendered)


def test_a_provider_template_cannot_be_an_email() -> None:
    with pytest.raises(InvalidInput, match="templates"):
        check_content(TEMPLATE, Channel.EMAIL, path=["input", "content"])


def test_a_text_too_long_for_sms_is_refused_even_if_whatsapp_could_send_it() -> None:
    long = replace(TEMPLATE, rendered="x" * (TEXT_LIMITS[Channel.SMS] + 1))
    check_content(long, Channel.WHATSAPP, path=[])
    with pytest.raises(InvalidInput, match="Shorten") as refused:
        check_content(long, Channel.SMS, path=["input", "content"])
    assert refused.value.path == ("input", "content", "template")
