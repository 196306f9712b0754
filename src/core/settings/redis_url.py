"""Reading REDIS_URL: one reader for `interalpha check` and for the connections themselves.

Every parameter that redis-py reads from a URL is honoured, or refused by its name with the fix:
https://redis.readthedocs.io/en/stable/connections.html
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.settings.urls import (
    Parameters,
    UrlParts,
    choice,
    decoded,
    host_and_port,
    load_authorities,
    load_certificate,
    number,
    readable_file,
    readable_folder,
    seconds,
    shown_host,
    take_apart,
    text_value,
    tls_version,
)
from core.settings.variables import WrongValue

EXAMPLE = "redis://:password@host:6379/0"
PORT = 6379

_TRUE, _FALSE = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")
_CLIENT_CERTIFICATE = ("ssl_certfile", "ssl_keyfile", "ssl_password")
_MOST_DATABASES = 65_535


def _flag(value: str) -> bool:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise WrongValue("must be true or false")
    return value.lower() in _TRUE


def _never(value: str) -> bool:
    if _flag(value):
        raise WrongValue("must be false: the application decides itself what is repeated, and reads bytes")
    return False


def _verification(value: str) -> ssl.VerifyMode:
    word = value.upper().removeprefix("CERT_")
    if word not in ("NONE", "OPTIONAL", "REQUIRED"):
        raise WrongValue("must be required, optional or none")
    # To a client, "optional" is the same as "required".
    return ssl.CERT_NONE if word == "NONE" else ssl.CERT_REQUIRED


def _flags(value: str) -> ssl.VerifyFlags:
    found = ssl.VerifyFlags(0)
    for word in value.strip("[]").split(","):
        if word.strip() not in ssl.VerifyFlags.__members__:
            raise WrongValue("must be flags like VERIFY_X509_STRICT, separated by commas")
        found |= ssl.VerifyFlags[word.strip()]
    return found


def _client_name(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise WrongValue("must hold no space and only ASCII")
    return value


_TLS_ONLY = "write rediss:// in place of redis://, which is what switches TLS on"
_OWN = "remove it, the application sets it"
_IN_PLACE = f"write it in its place in {EXAMPLE}"
PARAMETERS = Parameters(
    honoured={
        "db": number(0, _MOST_DATABASES),
        "username": text_value,
        "password": text_value,
        "socket_timeout": seconds(6, 120, ": the worker waits up to 5 seconds for a job"),
        "socket_connect_timeout": seconds(0.1, 60),
        "socket_keepalive": _flag,
        "socket_read_size": number(1_024, 16_777_216),
        "health_check_interval": number(0, 3_600),
        "client_name": _client_name,
        "protocol": number(2, 3),
        "retry_on_timeout": _never,
        "decode_responses": _never,
        "encoding": choice("utf-8", "utf8"),
        "encoding_errors": choice("strict"),
        "ssl_cert_reqs": _verification,
        "ssl_check_hostname": _flag,
        "ssl_ca_certs": readable_file,
        "ssl_ca_path": readable_folder,
        "ssl_ca_data": text_value,
        "ssl_certfile": readable_file,
        "ssl_keyfile": readable_file,
        "ssl_password": text_value,
        "ssl_min_version": tls_version,
        "ssl_ciphers": text_value,
        "ssl_include_verify_flags": _flags,
        "ssl_exclude_verify_flags": _flags,
    },
    refused={
        **dict.fromkeys(("host", "port", "path", "unix_socket_path", "socket_type"), _IN_PLACE),
        **dict.fromkeys(("ssl", "tls"), _TLS_ONLY),
        **dict.fromkeys(
            ("retry", "retry_on_error", "parser_class", "encoder_class", "connection_class", "redis_connect_func"), _OWN
        ),
        **dict.fromkeys(
            ("lib_name", "lib_version", "driver_info", "single_connection_client", "event_dispatcher"), _OWN
        ),
        **dict.fromkeys(("charset", "errors"), "remove it, the application writes UTF-8"),
        "credential_provider": "give a user name and a password",
        "socket_keepalive_options": "write socket_keepalive=true, and set the intervals in the system",
        "max_connections": "remove it; a process opens as many as it needs at once, usually fewer than 20",
        "timeout": "write socket_connect_timeout or socket_timeout",
        "auto_close_connection_pool": _OWN,
        "ssl_validate_ocsp": "remove it, certificates are not asked about by OCSP",
        "ssl_validate_ocsp_stapled": "remove it, certificates are not asked about by OCSP",
        "ssl_ocsp_context": "remove it, certificates are not asked about by OCSP",
        "ssl_ocsp_expected_cert": "remove it, certificates are not asked about by OCSP",
    },
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A REDIS_URL as it was read. `host` is empty where `path` leads to a Unix socket; `tls` is None without TLS."""

    scheme: str
    user: str
    password: str = field(repr=False)
    host: str
    port: int
    path: str
    db: int
    tls: ssl.SSLContext | None = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of redis-py's connections, by its own names."""

    @property
    def is_unverified(self) -> bool:
        """Whether connections are encrypted without verifying the server."""
        return self.tls is not None and self.tls.verify_mode is ssl.CERT_NONE

    @property
    def shown(self) -> str:
        """The address as it may be shown."""
        user = f"{self.user}@" if self.user else ""
        place = self.path if self.path else shown_host(self.host, self.port)
        return f"{self.scheme}://{user}{place}{f'?db={self.db}' if self.path else f'/{self.db}'}"


def read_redis_url(text: str) -> RedisUrl:
    """Read a Redis URL; raises WrongValue with what is wrong and the fix, never with the value."""
    schemes = {"redis": "redis", "rediss": "rediss", "unix": "unix"}
    parts = take_apart(text, schemes=schemes, example=EXAMPLE)
    values = dict(PARAMETERS.check(parts.query))
    host, port, path = _place(parts)
    user, password = _login(parts, values)
    tls = _context(parts.scheme, values)
    db = _database(parts, values)
    options = {name: value for name, value in values.items() if not name.startswith(("ssl_", "encoding", "decode"))}
    return RedisUrl(parts.scheme, user, password, host, port, path, db, tls, options)


def _place(parts: UrlParts) -> tuple[str, int, str]:
    if parts.scheme == "unix":
        if parts.hosts or not parts.path.strip("/"):
            raise WrongValue("names no server: unix:///path/to/redis.sock?db=0, the path with three slashes before it")
        return "", 0, decoded(parts.path)
    if "," in parts.hosts:
        raise WrongValue("names several servers: give the address of one, or of what stands before them")
    host, port = host_and_port(parts.hosts, PORT)
    if not host:
        raise WrongValue(f"names no server: {EXAMPLE}, special characters percent-encoded")
    return host, port, ""


def _login(parts: UrlParts, values: dict[str, object]) -> tuple[str, str]:
    for name, written in (("username", parts.user), ("password", parts.password)):
        if written and name in values:
            raise WrongValue(f"holds {name} twice, before the @ and as a parameter: keep one of the two")
    user = parts.user or str(values.pop("username", ""))
    password = parts.password or str(values.pop("password", ""))
    if user and not password:
        raise WrongValue(
            "names a user and no password: redis://user:password@host, and with a password alone redis://:password@host"
        )
    return user, password


def _database(parts: UrlParts, values: dict[str, object]) -> int:
    written = "" if parts.scheme == "unix" else parts.path.removeprefix("/")
    if written and "db" in values:
        raise WrongValue("holds the database's number twice, after the host and as db: keep one of the two")
    if not written:
        return int(str(values.pop("db", 0)))
    if not written.isascii() or not written.isdigit() or int(written) > _MOST_DATABASES:
        raise WrongValue(f"names a database that is no number from 0 to {_MOST_DATABASES}: {EXAMPLE}")
    return int(written)


def _context(scheme: str, values: Mapping[str, Any]) -> ssl.SSLContext | None:
    given = [name for name in values if name.startswith("ssl_")]
    if scheme != "rediss":
        if given:
            fix = "remove it, a Unix socket has no TLS" if scheme == "unix" else _TLS_ONLY
            raise WrongValue(f"holds the parameter {given[0]} without TLS: {fix}")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if values.get("ssl_cert_reqs") is ssl.CERT_NONE:
        if ignored := [name for name in given if name.startswith(("ssl_ca", "ssl_check", "ssl_include"))]:
            raise WrongValue(f"holds {ignored[0]} and ssl_cert_reqs=none, which ignores it: keep one of the two")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = bool(values.get("ssl_check_hostname", True))
        _trust(context, values)
    if "ssl_keyfile" in values and "ssl_certfile" not in values:
        raise WrongValue("holds ssl_keyfile and no ssl_certfile: name the certificate, too")
    if "ssl_certfile" in values:
        key, password = values.get("ssl_keyfile"), values.get("ssl_password", "")
        load_certificate(context, _CLIENT_CERTIFICATE, values["ssl_certfile"], key, password)
    context.minimum_version = values.get("ssl_min_version", ssl.TLSVersion.TLSv1_2)
    context.verify_flags |= values.get("ssl_include_verify_flags", ssl.VerifyFlags(0))
    context.verify_flags &= ~values.get("ssl_exclude_verify_flags", ssl.VerifyFlags(0))
    if "ssl_ciphers" in values:
        try:
            context.set_ciphers(values["ssl_ciphers"])
        except ssl.SSLError:
            raise WrongValue("holds the parameter ssl_ciphers, which names no cipher of OpenSSL's") from None
    return context


def _trust(context: ssl.SSLContext, values: Mapping[str, Any]) -> None:
    """Trust the given certificate authorities, or those of the system where none are given."""
    if "ssl_ca_certs" in values:
        load_authorities(context, "ssl_ca_certs", file=values["ssl_ca_certs"])
    if "ssl_ca_path" in values:
        load_authorities(context, "ssl_ca_path", folder=values["ssl_ca_path"])
    if "ssl_ca_data" in values:
        try:
            context.load_verify_locations(cadata=values["ssl_ca_data"])
        except (ssl.SSLError, ValueError):
            raise WrongValue("holds the parameter ssl_ca_data, which is no PEM certificate") from None
    if not values.keys() & {"ssl_ca_certs", "ssl_ca_path", "ssl_ca_data"}:
        context.load_default_certs()
