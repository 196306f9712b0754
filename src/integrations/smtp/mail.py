"""Building the e-mail that goes over the wire; a header that could break out of its line is refused here too."""

from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate

from core.ports import EmailContent, OutboundMessage
from integrations.smtp.settings import Settings

# Bodies are encoded to 7 bits, so that every relay on the way can carry them unchanged.
_POLICY = policy.SMTP.clone(cte_type="7bit", raise_on_defect=True)
_POLICY_UTF8 = _POLICY.clone(utf8=True)


def build_mail(settings: Settings, message: OutboundMessage, content: EmailContent) -> tuple[bytes, bool]:
    """Build a mail to one mailbox; returns it with whether it needs SMTPUTF8. Raises ValueError for a bad header.

    The Message-ID is made of the message's id: whatever happens on the way, every attempt carries the same.
    """
    to = Address(addr_spec=message.to)
    needs_utf8 = not message.to.isascii()
    mail = EmailMessage(_POLICY_UTF8 if needs_utf8 else _POLICY)
    mail["Message-ID"] = f"<{message.reference.message_id.hex}@{settings.sender_address.rpartition('@')[2]}>"
    mail["Date"] = formatdate(usegmt=True)
    mail["From"] = Address(display_name=settings.sender_name, addr_spec=settings.sender_address)
    mail["To"] = to
    mail["Subject"] = content.subject
    mail["List-Unsubscribe"] = f"<{settings.unsubscribe_address}>"
    if settings.unsubscribe_address.startswith("https:"):
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    if content.plain_text:
        mail.set_content(content.plain_text)
        if content.html:
            mail.add_alternative(content.html, subtype="html")
    else:
        mail.set_content(content.html or "", subtype="html")
    return mail.as_bytes(), needs_utf8
