"""Building the e-mail that goes over the wire; a header that could break out of its line is refused here too."""

from dataclasses import dataclass
from email import policy
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate

from email_validator import validate_email

from core.ports import EmailContent, OutboundMessage
from integrations.smtp.settings import Settings

_LONGEST_SUBJECT_LINE = 69
"""Characters that stand beside `Subject: ` on a line of 78."""

# Bodies are encoded to 7 bits, so that every relay on the way can carry them unchanged.
_POLICY = policy.SMTP.clone(cte_type="7bit", raise_on_defect=True)
_POLICY_UTF8 = _POLICY.clone(utf8=True)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail and its envelope; `needs_utf8` says that an address cannot go without SMTPUTF8."""

    sender: str
    recipient: str
    raw: bytes
    needs_utf8: bool


def build_mail(settings: Settings, message: OutboundMessage, content: EmailContent) -> Mail:
    """Build a mail to one mailbox; raises ValueError for an address or a subject that no header can hold.

    The Message-ID is made of the message's id: whatever happens on the way, every attempt carries the same.
    """
    sender, recipient = settings.sender_address, _one_mailbox(message.to)
    needs_utf8 = not f"{sender}{recipient}".isascii()
    mail = EmailMessage(_POLICY_UTF8 if needs_utf8 else _POLICY)
    mail["Message-ID"] = f"<{message.reference.message_id.hex}@{sender.rpartition('@')[2]}>"
    mail["Date"] = formatdate(usegmt=True)
    mail["From"] = _address(sender, settings.sender_name)
    mail["To"] = _address(recipient)
    if content.plain_text:
        mail.set_content(content.plain_text)
        if content.html:
            mail.add_alternative(content.html, subtype="html")
    else:
        mail.set_content(content.html or "", subtype="html")
    head = [f"Subject: {_subject(content.subject)}", *_unsubscribing(settings.unsubscribe_address)]
    return Mail(sender, recipient, "".join(f"{line}\r\n" for line in head).encode() + mail.as_bytes(), needs_utf8)


def _one_mailbox(address: str) -> str:
    """The address in ASCII where its name allows it, so that the relay needs SMTPUTF8 only where it must."""
    found = validate_email(address, check_deliverability=False)
    if "=?" in found.normalized:
        # Nobody has such a name, and EmailMessage would read it as an encoded word.
        raise ValueError("The address looks like an encoded word.")
    return found.ascii_email or found.normalized


def _address(mailbox: str, name: str = "") -> Address:
    # In two halves: as one, a name outside ASCII counts as a defect.
    username, _, domain = mailbox.rpartition("@")
    return Address(name, username, domain)


def _subject(text: str) -> str:
    # Not through EmailMessage: it decodes `=?utf-8?q?…?=` in a text, so that a subject could bring headers of its own.
    if not text.isprintable():
        raise ValueError("The subject holds a control character.")
    is_plain = text.isascii() and "=?" not in text and len(text) <= _LONGEST_SUBJECT_LINE
    return text if is_plain else Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _unsubscribing(address: str) -> list[str]:
    # Not through EmailMessage: it encodes an address that is longer than the line, and nobody could follow it then.
    one_click = ["List-Unsubscribe-Post: List-Unsubscribe=One-Click"] if address.startswith("https:") else []
    return [f"List-Unsubscribe: <{address}>", *one_click]
