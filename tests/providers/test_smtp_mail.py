"""An e-mail on the wire, and what is refused before a byte of it leaves."""

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FailureParty, FailureReason, ProviderRejected
from core.ports import EmailContent, OutboundMessage, Reference
from integrations.smtp.adapter import SmtpSender
from integrations.smtp.connections import ConnectionPool
from integrations.smtp.mail import SenderHeaders, build_mail
from tests.providers.factories import ANA_AT_HOME, REFERENCE, email, smtp_settings
from tests.providers.servers import smtp_relay

INJECTION = "=?utf-8?q?Oi=0D=0ABcc=3A_evil=40example.org?="


def raw(message: OutboundMessage, **settings: str) -> bytes:
    assert isinstance(message.content, EmailContent)
    return build_mail(SenderHeaders.of(smtp_settings(**settings)), message, message.content).raw


def built(message: OutboundMessage, **settings: str) -> EmailMessage:
    """The mail as a third-party reader sees it."""
    return message_from_bytes(raw(message, **settings), EmailMessage, policy=policy.default)


def body(mail: EmailMessage, kind: str) -> str | None:
    part = mail.get_body((kind,))
    return None if part is None else str(part.get_content()).replace("\r\n", "\n")


def test_plain_text_stays_plain() -> None:
    mail = built(email())
    assert (mail.get_content_type(), body(mail, "plain")) == ("text/plain", "Até amanhã.\n")


def test_html_goes_alone() -> None:
    mail = built(email(plain_text=None, html="<p>Até amanhã.</p>"))
    assert (mail.get_content_type(), body(mail, "html")) == ("text/html", "<p>Até amanhã.</p>\n")


def test_both_go_as_alternatives_of_which_html_is_the_last() -> None:
    mail = built(email(html="<p>Até amanhã.</p>"))
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_the_headers_that_relays_and_readers_want_are_there() -> None:
    mail = built(email())
    assert (str(mail["From"]), str(mail["To"])) == ("Clínica Ação <no-reply@example.com>", ANA_AT_HOME)
    assert str(mail["Subject"]) == "Sua consulta é amanhã"
    assert parsedate_to_datetime(str(mail["Date"])).tzinfo is not None
    # RFC 5322 4.3: names of zones are read, and not generated.
    date = re.search(rb"^Date: (.*)\r$", raw(email()), re.MULTILINE)
    assert date is not None
    assert re.fullmatch(rb"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000", date[1])
    assert mail["List-Unsubscribe"] is None
    assert mail["List-Unsubscribe-Post"] is None
    assert len(mail.keys()) == len(set(mail.keys()))


def test_every_attempt_has_the_same_message_id_and_every_message_its_own() -> None:
    again = Reference(REFERENCE.tenant_id, REFERENCE.message_id, 4)
    other = Reference(REFERENCE.tenant_id, REFERENCE.tenant_id, 1)
    ids = [str(built(email(reference=reference))["Message-ID"]) for reference in (REFERENCE, again, other)]
    assert ids[0] == ids[1] == f"<{REFERENCE.message_id.hex}@example.com>" != ids[2]


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/stop?x=1&y=2",
        "https://example.com/unsubscribe/" + "token" * 50,
        "mailto:stop@example.com?subject=" + "stop" * 30,
    ],
)
def test_an_address_to_unsubscribe_is_never_broken(address: str) -> None:
    head = raw(email(), SMTP_LIST_UNSUBSCRIBE=address).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert f"List-Unsubscribe: <{address}>".encode() in head
    assert (b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in head) == address.startswith("https:")


@pytest.mark.parametrize(
    "subject",
    [
        "Oi",
        "ç" * 400,
        "🙂" * 200,
        "word " * 60 + "end",
        "a" * 900,
        "a" * 69,
        "a" * 70,
        "=?utf-8?q?not_encoded?=",
        "Total: R$\u00a0150,00",
        "Oi 👩\u200d💻 \U0001fae9 \U0001fac8 שלום\u200e می\u200cخواهم auto\u00admático",
        "  espaços dos dois lados ",
        INJECTION,
        'Aspas " e < > , ; : \\ barras',
    ],
)
def test_a_subject_arrives_letter_for_letter(subject: str) -> None:
    mail = built(email(subject=subject))
    assert (mail["Subject"], mail["Bcc"], mail.defects) == (subject, None, [])
    assert max(map(len, raw(email(subject=subject)).split(b"\r\n"))) <= 78


# All that a subject may hold: no controls, halves of surrogate pairs or line separators.
ON_ONE_LINE = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])


@given(st.text(ON_ONE_LINE, min_size=1, max_size=300))
def test_no_subject_brings_headers_of_its_own(subject: str) -> None:
    mail = built(email(subject=subject))
    assert str(mail["Subject"]).strip() == subject.strip()
    assert set(mail.keys()) == set(built(email()).keys())


@pytest.mark.parametrize(
    "name",
    [
        "Ana",
        "Loja\u00a0R$ 👩\u200d💻 \U0001fac8 שלום\u200e",
        '"Silva, Ana"',
        "Conceição & Irmãos",
        "Nome " * 30 + "longo",
        '"Conceição, ' + "e Filhos " * 12 + 'Ltda."',
    ],
)
def test_the_sender_has_its_name(name: str) -> None:
    (sender,) = built(email(), SMTP_FROM=f"{name} <a@example.com>")["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (name.strip('" '), "a@example.com")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 5_000,
        "ã" * 5_000,
        "linha " * 1_000,
        ".\n..\n.ponto\n\n.",
        "um\rdois\r\ntrês\nquatro",
        "From here\nTo: there\n\n--\nrodapé",
        "\t tab e espaço \n",
        "<" * 1_200,
    ],
)
def test_a_text_of_any_shape_goes_in_short_lines_of_seven_bits(text: str) -> None:
    wire = raw(email(plain_text=text, html=f"<p>{text}</p>"))
    assert wire.isascii()
    assert max(map(len, wire.split(b"\r\n"))) <= 998
    assert b"\r" not in wire.replace(b"\r\n", b"")
    assert b"\n" not in wire.replace(b"\r\n", b"")
    arrived = body(built(email(plain_text=text)), "plain") or ""
    assert arrived.splitlines() == text.splitlines()


WORDS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=_?.- \t\r\n"), max_size=400)
NAMES = st.text(st.sampled_from("Conceição Irmãos, &.'日本🙂=?_"), max_size=90).filter(
    lambda name: name.strip(' "') != ""
)


@given(WORDS.filter(bool), WORDS, st.text(ON_ONE_LINE, min_size=1, max_size=200), NAMES)
def test_a_written_mail_is_read_by_other_libraries_as_intended(plain: str, html: str, subject: str, name: str) -> None:
    message = email("joao.silva+a'b@Exemplo.com.br", subject, plain, html)
    wire = raw(message, SMTP_FROM=f'"{name}" <a@example.com>')
    mail = message_from_bytes(wire, EmailMessage, policy=policy.default)
    (sender,), (recipient,) = mail["From"].addresses, mail["To"].addresses
    assert (mail["Message-ID"], recipient.addr_spec) == (
        f"<{REFERENCE.message_id.hex}@example.com>",
        "joao.silva+a'b@exemplo.com.br",
    )
    assert (sender.addr_spec, str(mail["Subject"]).strip()) == ("a@example.com", subject.strip())
    assert abs(datetime.now(UTC) - parsedate_to_datetime(mail["Date"])) < timedelta(minutes=1)
    # What the standard library would have written says the same.
    theirs = EmailMessage(policy=policy.SMTP)
    theirs.set_content(plain)
    if html:
        theirs.add_alternative(html, subtype="html")
    theirs["From"] = Address(name.strip(' "'), "a", "example.com")
    read = message_from_bytes(theirs.as_bytes(), EmailMessage, policy=policy.default)
    assert sender == read["From"].addresses[0]
    assert [body(mail, kind) for kind in ("plain", "html")] == [body(read, kind) for kind in ("plain", "html")]
    assert mail.get_content_type() == read.get_content_type()
    assert [part.defects for part in mail.walk()] == [[]] * (3 if html else 1)
    assert wire.isascii()
    assert max(map(len, wire.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("text", ["--=_{name}", "--=_{name}--", "=_{name}\n--=_{name}--\nEpílogo", "\n--=_{name}\n\n"])
def test_no_text_ends_its_part(text: str) -> None:
    said = text.format(name=REFERENCE.message_id.hex)
    mail = built(email(plain_text=said, html=said))
    assert [body(mail, kind) for kind in ("plain", "html")] == [f"{said}\n".replace("\n\n\n", "\n\n")] * 2
    assert len(list(mail.iter_parts())) == 2


def test_a_domain_outside_ascii_is_spelled_in_ascii() -> None:
    message = email("ana@clínica.example.com")
    assert isinstance(message.content, EmailContent)
    mail = build_mail(SenderHeaders.of(smtp_settings()), message, message.content)
    assert (mail.recipient, mail.needs_utf8) == ("ana@xn--clnica-4va.example.com", False)


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        ("a@b.com\r\nBcc: evil@example.org", "Oi"),
        ("a@b.com, evil@example.org", "Oi"),
        ("a@b.com>\r\nRCPT TO:<evil@example.org", "Oi"),
        ("a@b.com> SIZE=1", "Oi"),
        ("Ana <a@b.com>", "Oi"),
        ("=?utf-8?q?a=0D=0ABcc=3A?=@b.com", "Oi"),
        ("a@b@c.com", "Oi"),
        ("@", "Oi"),
        ("", "Oi"),
        ("a\x00@b.com", "Oi"),
        ("\ud800@b.com", "Oi"),
        (ANA_AT_HOME, "Oi\r\nBcc: evil@example.org"),
        (ANA_AT_HOME, "Oi\nBcc: evil@example.org"),
        (ANA_AT_HOME, "Oi\rBcc: evil@example.org"),
        (ANA_AT_HOME, "Oi\u2028Bcc: evil@example.org"),
        (ANA_AT_HOME, "Oi\x85Bcc: evil@example.org"),
        (ANA_AT_HOME, "Oi\x00"),
        (ANA_AT_HOME, "\ud800"),
    ],
)
async def test_what_could_break_out_of_a_header_is_refused_before_a_byte_leaves(to: str, subject: str) -> None:
    async with smtp_relay() as relay:
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        with pytest.raises(ProviderRejected) as caught:
            await SmtpSender(settings, ConnectionPool(settings)).send(email(to, subject))
        assert (caught.value.reason, caught.value.party) == (FailureReason.CONTENT_REJECTED, FailureParty.CALLER)
        assert relay.wire.connections == 0
