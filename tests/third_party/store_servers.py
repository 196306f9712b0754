"""Debian's PostgreSQL and Redis with certificates of a private CA, each in its own folder."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.migrations import upgrade
from devkit.embedded.postgres import OWNER, ROLES, make_roles
from tests.databases import Urls
from tests.servers import reserved_port

ROOT = Path(__file__).parents[2]
_CACHED_REDIS = ROOT / ".cache" / "redis"
_PASSWORD = "a-password-of-a-test"


def postgres_folder() -> Path | None:
    """Return the folder with the programs of Debian's newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    return found[-1].parent if found else None


def redis_program() -> Path | None:
    """Return Debian's Redis: unpacked by `.ci/run`, or installed."""
    cached = _CACHED_REDIS / "usr" / "bin" / "redis-server"
    installed = shutil.which("redis-server")
    return cached if cached.exists() else Path(installed) if installed else None


class Authority:
    """A private certificate authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def certify(self, name: str, host: str | None = None) -> tuple[Path, Path, x509.Certificate]:
        """Create a certificate for a server at a host, or for a client; return both files and the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key.public_key())
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(_pem(certificate))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files[1].chmod(0o600)
        return *files, certificate

    def revoke(self, certificate: x509.Certificate) -> Path:
        """Write a revocation list with this certificate."""
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).add_revoked_certificate(entry)
        builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=1))
        file = self._folder / "revoked.crl"
        file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Servers:
    """Both servers, at `localhost`; 127.0.0.1 is not in their certificates."""

    folder: Path
    authority: Authority
    stranger: Authority
    certificate: x509.Certificate
    postgres: int
    redis: int
    redis_user: str

    def postgres_url(self, user: str, database: str, query: str = "", host: str = "localhost") -> str:
        return f"postgresql://{user}:{_PASSWORD}@{host}:{self.postgres}/{database}{query}"

    def redis_url(self, query: str = "", *, host: str = "localhost", user: str | None = None) -> str:
        return f"rediss://{user or self.redis_user}:{_PASSWORD}@{host}:{self.redis}/0{query}"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Urls]:
        """Create a migrated database, reached with `verify-full`; Redis is used as the documented user."""
        name = f"test_{uuid4().hex}"
        checked = f"?sslmode=verify-full&sslrootcert={self.authority.file}"
        superuser = await asyncpg.connect(self.postgres_url("postgres", "postgres", checked))
        await superuser.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        urls = {role: self.postgres_url(role, name, checked) for role in (*ROLES, "postgres")}
        await asyncio.to_thread(upgrade, urls[OWNER])
        redis = self.redis_url(f"?ssl_ca_certs={self.authority.file}")
        try:
            yield Urls(urls["interalpha_app"], urls["interalpha_worker"], urls[OWNER], urls["postgres"], redis)
        finally:
            await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await superuser.close()


@asynccontextmanager
async def store_servers(folder: Path, acl: str) -> AsyncIterator[Servers]:
    """Start both; `acl` is the documented line for the user of Redis, with a password of these tests."""
    authority, stranger = Authority(folder, "own-ca"), Authority(folder, "another-ca")
    certificate, key, itself = authority.certify("server", "localhost")
    ports = reserved_port(), reserved_port()
    line = acl.replace(">PASSWORD", f">{_PASSWORD}").removeprefix("ACL SETUSER ")
    found = Servers(folder, authority, stranger, itself, *ports, redis_user=line.split()[0])
    async with _postgres(found, certificate, key), _redis(found, certificate, key, line):
        yield found


@asynccontextmanager
async def _postgres(servers: Servers, certificate: Path, key: Path) -> AsyncIterator[None]:
    programs, data = postgres_folder(), servers.folder / "postgres"
    assert programs is not None
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.getuid() == 0 else None
    data.mkdir()
    secret = servers.folder / "secret"
    secret.write_text(_PASSWORD)
    own = [shutil.copy(file, data.parent / f"postgres-{file.name}") for file in (certificate, key)]
    for path in (data, secret, *own):
        shutil.chown(path, user) if user else None
    options = ("-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync", "-E", "UTF8")
    await _run(user, str(programs / "initdb"), "-D", str(data), *options)
    (data / "pg_hba.conf").write_text(
        "hostssl all certified all scram-sha-256 clientcert=verify-ca\nhostssl all all all scram-sha-256\n"
    )
    settings = {
        "port": servers.postgres,
        "listen_addresses": "localhost",
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": own[0],
        "ssl_key_file": own[1],
        "ssl_ca_file": servers.authority.file,
        "fsync": "off",
    }
    arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = await asyncio.create_subprocess_exec(
        str(programs / "postgres"), "-D", str(data), *arguments, user=user, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _make_roles(servers)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _make_roles(servers: Servers) -> None:
    url = servers.postgres_url("postgres", "postgres", f"?sslmode=verify-full&sslrootcert={servers.authority.file}")
    async with asyncio.timeout(20):
        while True:
            try:
                superuser = await asyncpg.connect(url)
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)
            else:
                break
    await make_roles(superuser, dict.fromkeys(ROLES, _PASSWORD))
    await superuser.execute(f"CREATE ROLE certified LOGIN PASSWORD '{_PASSWORD}'")
    await superuser.close()


@asynccontextmanager
async def _redis(servers: Servers, certificate: Path, key: Path, line: str) -> AsyncIterator[None]:
    program = redis_program()
    assert program is not None
    libraries = [str(folder) for folder in (_CACHED_REDIS / "usr" / "lib").glob("*-linux-gnu")]
    file = servers.folder / "redis.conf"
    file.write_text(
        f"""port 0
bind 127.0.0.1
tls-port {servers.redis}
tls-cert-file {certificate}
tls-key-file {key}
tls-ca-cert-file {servers.authority.file}
tls-auth-clients optional
logfile {servers.folder}/redis.log
save ""
dir {servers.folder}
user default on >{_PASSWORD} ~* &* +@all
user {line}
"""
    )
    environment = dict(os.environ) | {"LD_LIBRARY_PATH": ":".join(libraries)}
    process = await asyncio.create_subprocess_exec(
        str(program), str(file), env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while True:
                assert process.returncode is None, (servers.folder / "redis.log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", servers.redis)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _run(user: str | None, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
