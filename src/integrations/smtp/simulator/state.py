"""The state of the simulated mail server, its certificate, and its answers, which depend on the recipient's address."""

import ssl
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer

from integrations.simulating.provider import STRICT, Json
from integrations.smtp.simulator.protocol import TOO_BIG, Reply, reply

_REQUIRED = ("Message-ID", "Date", "From")


def _decode_raw(raw: object) -> object:
    return b64decode(raw, validate=True) if isinstance(raw, str) else raw


# A mail is bytes of any kind; a memory on paper is text.
Raw = Annotated[bytes, BeforeValidator(_decode_raw), PlainSerializer(lambda raw: b64encode(raw).decode())]


@dataclass(frozen=True, slots=True)
class Mail:
    """One accepted mail; `id` is what it was queued as, `at` by the provider's clock."""

    __pydantic_config__ = STRICT

    sender: str
    recipients: tuple[str, ...]
    raw: Raw
    is_encrypted: bool
    user: str | None
    at: AwareDatetime
    id: str = field(default_factory=lambda: token_hex(6))

    def concerns(self, address: str) -> bool:
        """Whether the envelope names this address."""
        return address in self.recipients

    def shown(self) -> Json:
        """The mail for the control API."""
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "envelope": {"from": self.sender, "to": list(self.recipients)},
            "encrypted": self.is_encrypted,
            "user": self.user,
            "size": len(self.raw),
            **_summary(self.raw),
            "raw": self.raw.decode("utf-8", "replace"),
        }


def _summary(raw: bytes) -> Json:
    message = message_from_bytes(raw, EmailMessage, policy=default)
    try:
        headers = {name.lower(): str(value) for name, value in message.items()}
        text, html = _body(message, "plain"), _body(message, "html")
    # The parser stumbles over some malformed headers and unknown charsets; such a mail is kept and shown raw.
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        return {"unreadable": repr(error), "missing": []}
    names = ("subject", "from", "to", "message-id", "list-unsubscribe", "list-unsubscribe-post")
    return {
        **{name.replace("-", "_"): headers.get(name) for name in names},
        "text": text,
        "html": html,
        "headers": headers,
        "missing": [name for name in _REQUIRED if name.lower() not in headers],
    }


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body(preferencelist=(kind,))
    return None if part is None else str(part.get_content()).replace("\r\n", "\n")


# The state of the simulated mail server; it can be exported and imported.


GREYLIST_KEPT = timedelta(days=35)
"""How long a greylist knows a pair that has not written again: the time usual among mail servers."""


def _by_their_ids(mails: dict[str, Mail]) -> dict[str, Mail]:
    if any(key != mail.id for key, mail in mails.items()):
        raise ValueError("every mail is kept under its own id")
    return mails


@dataclass(slots=True)
class State:
    """Accepted mails by id, and when each pair of sender and recipient, with a space between them, last wrote."""

    __pydantic_config__ = STRICT

    mails: Annotated[dict[str, Mail], AfterValidator(_by_their_ids)] = field(default_factory=dict)
    greylist: dict[str, AwareDatetime] = field(default_factory=dict)

    def is_known(self, sender: str, recipient: str, now: datetime) -> bool:
        """Whether they have written lately; from now on they have."""
        pair = f"{sender} {recipient}"
        before = self.greylist.get(pair)
        self.greylist[pair] = now
        return before is not None and now - before < GREYLIST_KEPT


# The answers of the mail server depend on the recipient's local part:
#
# nobody@   550 5.1.1 at RCPT           grey@    451 4.7.1 at its first RCPT from a sender, taken at the second
# full@     452 4.2.2 at RCPT           busy@    451 4.7.1 at every RCPT
# spam@     554 5.7.1 after the mail    big@     552 5.3.4 after the mail
#
# A pair that grey@ has taken is known for 35 days.


_GREYLISTED = reply(451, "4.7.1 Greylisted, try again later")
_AT_RCPT = {
    "nobody": reply(550, "5.1.1 User unknown"),
    "full": reply(452, "4.2.2 Mailbox full"),
    "busy": _GREYLISTED,
}
_AFTER_THE_MAIL = {"spam": reply(554, "5.7.1 Message refused as spam"), "big": TOO_BIG}


def recipient_refusal(recipient: str, sender: str, records: State, now: datetime) -> Reply | None:
    """Why a recipient is refused, if it is; a first attempt is remembered in the greylist."""
    name = local_part(recipient)
    if name == "grey" and not records.is_known(sender, recipient, now):
        return _GREYLISTED
    return _AT_RCPT.get(name)


def mail_refusal(recipients: Iterable[str]) -> Reply | None:
    """Why a whole mail is refused, if it is."""
    return next((_AFTER_THE_MAIL[name] for name in map(local_part, recipients) if name in _AFTER_THE_MAIL), None)


def local_part(address: str) -> str:
    """What stands before the @."""
    return address.rpartition("@")[0].lower()


# A self-signed certificate for one run, for loopback names; its key is not kept on disk.


_USAGE = ("digital_signature", "key_cert_sign")
_OTHER_USAGES = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate in a private folder; returns the server's context and the file that clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca_file, key_file = folder / "ca.pem", folder / "key.pem"
    ca_file.write_bytes(_certificate(key).public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(ca_file, key_file)
    key_file.unlink()
    return context, ca_file


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Interalpha SMTP simulator")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    usage = x509.KeyUsage(**dict.fromkeys(_USAGE, True), **dict.fromkeys(_OTHER_USAGES, False))
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
