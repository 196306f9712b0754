"""Reading DATABASE_URL: one reader for `interalpha check` and for the connections themselves.

Every connection parameter of libpq is honoured as libpq does it, or refused by its name with the fix:
https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import configparser
import os
import re
import ssl
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.settings.urls import (
    Parameters,
    UrlParts,
    choice,
    decoded,
    host_and_port,
    host_name,
    load_authorities,
    load_certificate,
    number,
    port_number,
    readable_file,
    readable_folder,
    shown_host,
    take_apart,
    text_value,
    tls_version,
)
from core.settings.variables import WrongValue

EXAMPLE = "postgresql://user:password@host/database"
PORT = 5432
CONNECT_TIMEOUT = 10.0

_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "postgresql+asyncpg": "postgresql"}
_VERIFYING = ("verify-ca", "verify-full")
_HAS_PORT = re.compile(r":[0-9]+$")
_ENCRYPTED = ("require", *_VERIFYING)
_OF_CERTIFICATES = (
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslcrldir",
    "ssl_max_protocol_version",
)
_CLIENT_CERTIFICATE = ("sslcert", "sslkey", "sslpassword")


def _root_certificate(value: str) -> str:
    return value if value == "system" else readable_file(value)


def _password_file(value: str) -> str:
    if stat.S_IMODE(Path(readable_file(value)).stat().st_mode) & 0o077:
        raise WrongValue("names a file that others may read, and which is then ignored: chmod 600")
    return value


def _encoding(value: str) -> str:
    if value.lower().replace("-", "") not in ("utf8", "auto", "unicode"):
        raise WrongValue("must be UTF8: the application writes nothing else")
    return value


def _protocol(value: str) -> str:
    if value not in ("3.0", "latest"):
        raise WrongValue("must be 3.0 or latest: the driver speaks version 3.0")
    return value


_FLAG = choice("0", "1")
_KERBEROS = "remove it; log in with a password or a client certificate"
_OAUTH = "remove it; log in with a password or a client certificate"
_SETTING = "write it as options=-c%20NAME%3DVALUE, or set it on the role: ALTER ROLE … SET NAME = VALUE"
_OF_OTHERS = "it is another program's; remove it"
PARAMETERS = Parameters(
    honoured={
        "host": text_value,
        "port": text_value,
        "dbname": text_value,
        "user": text_value,
        "password": text_value,
        "passfile": _password_file,
        "connect_timeout": number(1, 600, ": an attempt to connect must end"),
        "client_encoding": _encoding,
        "options": text_value,
        "application_name": text_value,
        "fallback_application_name": text_value,
        "keepalives": _FLAG,
        # Linux takes no more: https://man7.org/linux/man-pages/man7/tcp.7.html
        "keepalives_idle": number(0, 32_767),
        "keepalives_interval": number(0, 32_767),
        "keepalives_count": number(0, 127),
        "tcp_user_timeout": number(0, 86_400_000),
        "replication": choice("false", "off", "no", "0"),
        "gssencmode": choice("disable", "prefer"),
        "gssdelegation": choice("0"),
        "sslmode": choice("disable", "allow", "prefer", *_ENCRYPTED),
        "ssl": choice("true"),
        "sslnegotiation": choice("postgres", "direct"),
        "sslcompression": choice("0"),
        "sslcert": readable_file,
        "sslkey": readable_file,
        "sslpassword": text_value,
        "sslcertmode": choice("allow", "disable"),
        "sslrootcert": _root_certificate,
        "sslcrl": readable_file,
        "sslcrldir": readable_folder,
        "sslsni": choice("1"),
        "ssl_min_protocol_version": tls_version,
        "ssl_max_protocol_version": tls_version,
        "min_protocol_version": _protocol,
        "max_protocol_version": choice("3.0", "3.2", "latest"),
        "channel_binding": choice("disable", "prefer", "require"),
        "target_session_attrs": choice("any", "read-write", "primary"),
        "load_balance_hosts": choice("disable", "random"),
        "service": text_value,
        "servicefile": readable_file,
        # Of poolers and their clients: without prepared statements, as DATABASE_PREPARED_STATEMENTS=false.
        "pgbouncer": choice("true", "false"),
    },
    refused={
        "hostaddr": "write the address in place of the host",
        "require_auth": "remove it, and allow one way of logging in for this role in pg_hba.conf",
        "requiressl": "write sslmode=require",
        "requirepeer": "remove it; the folder of a Unix socket is protected by its permissions",
        "sslkeylogfile": "remove it; it would write the keys of every connection in clear",
        "krbsrvname": _KERBEROS,
        "gsslib": _KERBEROS,
        "scram_client_key": "give the password",
        "scram_server_key": "give the password",
        "oauth_issuer": _OAUTH,
        "oauth_client_id": _OAUTH,
        "oauth_client_secret": _OAUTH,
        "oauth_scope": _OAUTH,
        "database": "write dbname, or the name behind the host's /",
        **dict.fromkeys(("schema", "currentSchema"), "set it on the role: ALTER ROLE … SET search_path = …"),
        **dict.fromkeys(("search_path", "statement_timeout", "lock_timeout", "timezone", "TimeZone"), _SETTING),
        **dict.fromkeys(
            ("connection_limit", "pool_timeout", "pool_size", "max_overflow", "pool_max_conns"), _OF_OTHERS
        ),
        **dict.fromkeys(("sslaccept", "sslidentity", "socket_timeout", "prepareThreshold", "supa"), _OF_OTHERS),
        **dict.fromkeys(("uselibpqcompat", "workaround", "connect_args", "async_fallback"), _OF_OTHERS),
        **dict.fromkeys(
            ("statement_cache_size", "prepared_statement_cache_size", "prepared_statements"),
            "set DATABASE_PREPARED_STATEMENTS=false",
        ),
        "command_timeout": "remove it, the application sets it",
        "channelBinding": "write channel_binding",
        "sslMode": "write sslmode",
        "ssl_ca": "write sslrootcert",
        "sslca": "write sslrootcert",
    },
)


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A DATABASE_URL as it was read: where to connect, as whom, and how.

    A host that begins with a slash is the folder of a Unix socket. `tls` is the driver's argument: a context, a mode
    that falls back to plain text by itself, or False.
    """

    hosts: Sequence[tuple[str, int]]
    user: str
    password: str | None = field(repr=False)
    database: str
    tls: ssl.SSLContext | str | bool = field(repr=False)
    server_settings: Mapping[str, str] = field(default_factory=dict)
    connect_timeout: float = CONNECT_TIMEOUT
    session: str = "any"
    passfile: str | None = None
    is_direct_tls: bool = False
    is_shuffled: bool = False
    has_prepared_statements: bool = True
    keep_alive: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_unverified(self) -> bool:
        """Whether connections are encrypted without verifying the server."""
        return isinstance(self.tls, ssl.SSLContext) and self.tls.verify_mode is ssl.CERT_NONE

    @property
    def is_pooled(self) -> bool:
        """Whether it leads to Neon's pooler, or is marked as the URL of a pooler."""
        names = (host.partition(".")[0] for host, _ in self.hosts)
        return not self.has_prepared_statements or any(name.endswith("-pooler") for name in names)

    @property
    def shown(self) -> str:
        """The address as it may be shown: who connects, and to where."""
        hosts = ",".join(shown_host(host, port) for host, port in self.hosts)
        return f"postgresql://{self.user}@{hosts}/{self.database}"


def read_postgres_url(text: str) -> PostgresUrl:
    """Read a database URL; raises WrongValue with what is wrong and the fix, never with the value."""
    parts = take_apart(text, schemes=_SCHEMES, example=EXAMPLE)
    query = _with_service(parts.query)
    given = _authority(parts, query)
    values = dict(PARAMETERS.check(given))
    hosts = _hosts(given.get("host", ""), given.get("port", ""), is_authority=bool(parts.hosts))
    if not hosts:
        raise WrongValue(f"names no host: {EXAMPLE}, special characters percent-encoded")
    for name, what in (("dbname", "database"), ("user", "user")):
        if not given.get(name):
            raise WrongValue(f"names no {what}: {EXAMPLE}")
    named = values.get("application_name", values.get("fallback_application_name"))
    settings = {"application_name": str(named)} if named else {}
    settings |= {"options": str(values["options"])} if "options" in values else {}
    return PostgresUrl(
        hosts=hosts,
        user=given["user"],
        password=given.get("password"),
        database=given["dbname"],
        tls=_tls(values),
        server_settings=settings,
        connect_timeout=float(str(values.get("connect_timeout", CONNECT_TIMEOUT))),
        session=str(values.get("target_session_attrs", "any")),
        passfile=str(values["passfile"]) if "passfile" in values else None,
        is_direct_tls=values.get("sslnegotiation") == "direct",
        is_shuffled=values.get("load_balance_hosts") == "random",
        has_prepared_statements=values.get("pgbouncer") != "true",
        keep_alive={name: int(str(values[name])) for name in values if name.startswith(("keepalives", "tcp_user"))},
    )


def _with_service(query: Mapping[str, str]) -> Mapping[str, str]:
    """Add the parameters of a service file that the URL does not have."""
    name = query.get("service")
    if name is None:
        return query
    PARAMETERS.check({key: query[key] for key in query if key == "servicefile"})
    home = os.environ.get("PGSERVICEFILE") or str(Path("~/.pg_service.conf").expanduser())
    system = str(Path(os.environ.get("PGSYSCONFDIR", "/etc/postgresql-common")) / "pg_service.conf")
    for path in (query.get("servicefile") or home, system):
        services = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            services.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            raise WrongValue("holds the parameter service, and the service file cannot be read as one") from None
        if name in services:
            return {**services[name], **query}
    raise WrongValue("holds the parameter service, which no service file defines: ~/.pg_service.conf, or servicefile=…")


def _authority(parts: UrlParts, query: Mapping[str, str]) -> Mapping[str, str]:
    """Merge host, user, password and database into the parameters; raises WrongValue for one that is given twice."""
    name = parts.path.removeprefix("/")
    if "/" in name:
        raise WrongValue(f"names no database that can be read: {EXAMPLE}, with / as %2F and nothing behind the name")
    before = {"user": parts.user, "password": parts.password, "host": parts.hosts, "dbname": decoded(name)}
    before = {key: value for key, value in before.items() if value}
    # A service file only fills what the URL leaves open.
    in_url = {key for key in before if key in parts.query}
    if in_url:
        twice = sorted(in_url)[0]
        raise WrongValue(f"holds {twice} twice, in its place and as a parameter: keep one of the two")
    if "port" in parts.query and any(_HAS_PORT.search(host) for host in parts.hosts.split(",")):
        raise WrongValue("holds a port twice, behind a host and as the parameter port: keep one of the two")
    return {**query, **before}


def _hosts(text: str, ports: str, *, is_authority: bool) -> Sequence[tuple[str, int]]:
    if not text:
        return ()
    given = [port_number(port) for port in ports.split(",")] if ports else [PORT]
    names = text.split(",")
    if len(given) not in (1, len(names)):
        raise WrongValue("holds the parameter port with another number of ports than there are hosts")
    usual = given * len(names) if len(given) == 1 else given
    read = host_and_port if is_authority else _host
    hosts = [read(name, port) for name, port in zip(names, usual, strict=True)]
    if not all(host for host, _ in hosts):
        raise WrongValue(f"names no host: {EXAMPLE}, special characters percent-encoded")
    return hosts


def _host(text: str, port: int) -> tuple[str, int]:
    """Read a host from a parameter; its port has a parameter of its own."""
    if text.count(":") == 1 and not text.startswith("/"):
        raise WrongValue("holds the parameter host with a port in it: write port=…, too")
    return host_name(text.strip("[]")), port


def _mode(values: Mapping[str, object]) -> str:
    """The sslmode of the parameters; raises WrongValue for parameters that the mode would ignore."""
    mode = str(values.get("sslmode") or ("require" if "ssl" in values else ""))
    if "ssl" in values and "sslmode" in values:
        raise WrongValue("holds ssl and sslmode: keep sslmode")
    if values.get("sslrootcert") == "system":
        if mode not in ("", "verify-full"):
            raise WrongValue("holds sslrootcert=system with a weaker sslmode: write sslmode=verify-full")
        mode = "verify-full"
    if values.get("channel_binding") == "require":
        if mode not in ("", *_ENCRYPTED):
            raise WrongValue("holds channel_binding=require without TLS: write sslmode=verify-full")
        # The driver does not support channel binding; the certificate's host is verified instead.
        mode = "verify-full"
    ignored = [name for name in _OF_CERTIFICATES if name in values]
    if values.get("ssl_min_protocol_version") is ssl.TLSVersion.TLSv1_3:
        ignored.append("ssl_min_protocol_version=TLSv1.3")
    if ignored and mode not in _ENCRYPTED:
        raise WrongValue(
            f"holds {ignored[0]}, which only counts with sslmode=verify-full, verify-ca or require: add it"
        )
    if values.get("sslnegotiation") == "direct" and mode not in _ENCRYPTED:
        raise WrongValue("holds sslnegotiation=direct, which needs sslmode=require, verify-ca or verify-full")
    return mode or "prefer"


def _tls(values: Mapping[str, object]) -> ssl.SSLContext | str | bool:
    mode = _mode(values)
    if mode not in _ENCRYPTED:
        # Both fall back to the other, which the driver does by itself.
        return mode if mode != "disable" else False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    root = str(values["sslrootcert"]) if "sslrootcert" in values else _usual_file("root.crt")
    if root is None and mode == "require":
        context.verify_mode = ssl.CERT_NONE
    elif root in (None, "system"):
        context.load_default_certs()
    else:
        load_authorities(context, "sslrootcert", file=root)
    _revocations(context, values)
    _certificate(context, values)
    _versions(context, values)
    context.set_alpn_protocols(["postgresql"])
    return context


def _versions(context: ssl.SSLContext, values: Mapping[str, Any]) -> None:
    least = values.get("ssl_min_protocol_version", ssl.TLSVersion.TLSv1_2)
    most = values.get("ssl_max_protocol_version", ssl.TLSVersion.MAXIMUM_SUPPORTED)
    if ssl.TLSVersion.MAXIMUM_SUPPORTED is not most < least:
        raise WrongValue("holds ssl_min_protocol_version and ssl_max_protocol_version, and no version is between them")
    context.minimum_version, context.maximum_version = least, most


def _revocations(context: ssl.SSLContext, values: Mapping[str, object]) -> None:
    if context.verify_mode is ssl.CERT_NONE and (given := [name for name in ("sslcrl", "sslcrldir") if name in values]):
        raise WrongValue(f"holds {given[0]}, and nothing checks the server's certificate: write sslmode=verify-full")
    file, folder = values.get("sslcrl") or _usual_file("root.crl"), values.get("sslcrldir")
    if file:
        load_authorities(context, "sslcrl", file=str(file))
    if folder:
        load_authorities(context, "sslcrldir", folder=str(folder))
    if file or folder:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _certificate(context: ssl.SSLContext, values: Mapping[str, object]) -> None:
    if "sslkey" in values and "sslcert" not in values:
        raise WrongValue("holds sslkey and no sslcert: name the certificate, too")
    if values.get("sslcertmode") == "disable":
        return
    certificate = values.get("sslcert") or _usual_file("postgresql.crt")
    key = values.get("sslkey") or _usual_file("postgresql.key")
    if certificate:
        password = str(values.get("sslpassword", ""))
        load_certificate(context, _CLIENT_CERTIFICATE, str(certificate), str(key) if key else None, password)


def _usual_file(name: str) -> str | None:
    """Return the file that libpq takes where none is named, if it is there."""
    try:
        path = Path("~/.postgresql").expanduser() / name
        return str(path) if path.is_file() else None
    except (RuntimeError, OSError):  # there is no home, or none that may be read
        return None
