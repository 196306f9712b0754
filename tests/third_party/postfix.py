"""A Postfix with its own configuration, queue and ports; this module answers for greylisting and logins."""

import base64
import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import free_port

POSTFIX = shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
USER, PASSWORD = "mailer", "a-password-of-the-relay"
SIZE_LIMIT = 50_000

# CI installs Postfix and runs as root; elsewhere these tests may be skipped.
needs_postfix = pytest.mark.skipif(
    (POSTFIX is None or os.getuid() != 0) and "CI" not in os.environ,
    reason="postfix is not installed, or only root could start it",
)

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = mx.example.net
mydestination =
local_recipient_maps =
alias_maps =
mynetworks =
inet_interfaces = loopback-only
inet_protocols = ipv4
message_size_limit = {size}
virtual_mailbox_domains = example.net
virtual_mailbox_maps = regexp:{folder}/mailboxes
virtual_transport = discard:
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {folder}/ca.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{logins}
smtpd_sender_login_maps = inline:{{ {{no-reply@example.com = {user}}}, {{owned@example.com = somebody-else}} }}
smtpd_reject_unlisted_sender = no
smtpd_sender_restrictions = reject_sender_login_mismatch
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access regexp:{folder}/access,
  check_policy_service inet:127.0.0.1:{greylist}
"""
_MASTER = """
127.0.0.1:{open} inet n - n - - smtpd
127.0.0.1:{encrypted} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
127.0.0.1:{closed} inet n - n - - smtpd -o smtpd_client_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{deferring} inet n - n - - smtpd -o smtpd_relay_restrictions=defer_unauth_destination
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
_MAILBOXES = "/^(ana|grey|full|brimful|over)[0-9]*@example\\.net$/ there\n"
_ACCESS = """
/^full[0-9]*@/ 452 4.2.2 Mailbox full
/^brimful[0-9]*@/ 552 5.2.2 Mailbox full
/^over[0-9]*@/ 552 Requested mail action aborted: exceeded storage allocation
"""


class GreylistServer(socketserver.StreamRequestHandler):
    """Defers grey* at its first try. https://www.postfix.org/SMTPD_POLICY_README.html"""

    seen: ClassVar[set[str]] = set()

    def handle(self) -> None:
        asked: dict[str, str] = {}
        for raw in self.rfile:
            name, _, value = raw.decode().rstrip("\n").partition("=")
            if name:
                asked[name] = value
                continue
            recipient = asked.get("recipient", "")
            is_new = recipient.startswith("grey") and recipient not in self.seen
            self.seen.add(recipient)
            answer = "defer_if_permit Greylisted, see http://postgrey.example" if is_new else "dunno"
            self.wfile.write(f"action={answer}\n\n".encode())


class LoginServer(socketserver.StreamRequestHandler):
    """Dovecot's authentication protocol with one user. https://doc.dovecot.org/latest/core/config/auth/protocol.html"""

    def handle(self) -> None:
        self.wfile.write(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t" + b"0" * 32 + b"\nDONE\n")
        for raw in self.rfile:
            kind, *words = raw.decode().rstrip("\n").split("\t")
            if kind != "AUTH":
                continue
            response = next((word[5:] for word in words if word.startswith("resp=")), "")
            is_right = base64.b64decode(response).split(b"\0")[1:] == [USER.encode(), PASSWORD.encode()]
            self.wfile.write(f"{'OK' if is_right else 'FAIL'}\t{words[0]}\tuser={USER}\n".encode())


@dataclass
class Postfix:
    """A running Postfix; each port is named after its configuration."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def connections(self) -> int:
        """Count the connections it has had."""
        return (self.folder / "log").read_text().count("]: connect from ")


@contextmanager
def running(folder: Path) -> Iterator[Postfix]:
    """Start a Postfix that uses only its own folder; stop it at the end."""
    postfix = Postfix(folder, {name: free_port() for name in ("open", "encrypted", "closed", "deferring")})
    with _serving(GreylistServer) as greylist, _serving(LoginServer) as logins:
        for name in ("config", "queue", "data"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        _make_certificate(folder)
        main = _MAIN.format(folder=folder, greylist=greylist, logins=logins, size=SIZE_LIMIT, user=USER)
        (folder / "config" / "main.cf").write_text(main)
        (folder / "config" / "master.cf").write_text(_MASTER.format(**postfix.ports))
        (folder / "mailboxes").write_text(_MAILBOXES)
        (folder / "access").write_text(_ACCESS)
        command = [POSTFIX or "postfix", "-c", str(folder / "config")]
        started = subprocess.run([*command, "start"], capture_output=True, text=True, timeout=60, check=False)
        log = folder / "log"
        assert started.returncode == 0, started.stderr + (log.read_text() if log.exists() else "")
        try:
            yield postfix
        finally:
            subprocess.run([*command, "stop"], capture_output=True, timeout=60, check=False)


@contextmanager
def _serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.net")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(key.private_bytes(*pem))
