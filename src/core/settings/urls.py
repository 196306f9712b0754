"""Parsing the URL of a store strictly, so that a special character in a password never names another host."""

import difflib
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import unquote

from core.characters import refused_on_line
from core.settings.variables import WrongValue

ENCODE = "percent-encode special characters in the password (@ is %40, / is %2F, ? is %3F, # is %23, % is %25)"

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")
_HOST_NAME = re.compile(r"[\w.-]+")
# The form of an unknown parameter's name that may be shown: part of a password is unlikely to match.
_NAME = re.compile(r"[A-Za-z][A-Za-z_.-]{1,39}")


@dataclass(frozen=True, slots=True)
class UrlParts:
    """A URL in its parts. User, password and parameters are decoded; `hosts` and `path` are as they were written."""

    scheme: str
    user: str
    password: str = field(repr=False)
    hosts: str
    path: str
    query: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters a URL may hold: the parser of each that is honoured, and the fix for each that is not."""

    honoured: Mapping[str, Callable[[str], object]]
    refused: Mapping[str, str]

    def check(self, query: Mapping[str, str]) -> Mapping[str, object]:
        """Return the parsed values; raises WrongValue, by name and with the fix, for what is not honoured."""
        for name in query:
            if name in self.refused:
                raise WrongValue(f"holds the parameter {name}, which is not supported: {self.refused[name]}")
            if name not in self.honoured:
                raise WrongValue(self._unknown(name))
        return {name: self._parse(name, value) for name, value in query.items()}

    def _parse(self, name: str, value: str) -> object:
        try:
            return self.honoured[name](value)
        except WrongValue as error:
            raise WrongValue(f"holds the parameter {name}, which {error}") from None

    def _unknown(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            return f"holds a parameter that is not known: remove it, or {ENCODE}"
        known = difflib.get_close_matches(name.lower(), [*self.honoured, *self.refused], n=1, cutoff=0.75)
        fix = f"did you mean {known[0]}?" if known else "remove it"
        return f"holds the parameter {name}, which is not known: {fix}"


def take_apart(text: str, *, schemes: Mapping[str, str], example: str) -> UrlParts:
    """Split a URL into its parts; `schemes` maps each scheme to one name. Raises WrongValue for anything ambiguous."""
    written, separator, rest = text.strip().partition("://")
    scheme = schemes.get(written.lower())
    if not separator or scheme is None:
        first = example.partition("://")[0]
        raise WrongValue(f"must begin with {' or '.join(f'{one}://' for one in _offered(schemes, first))}: {example}")
    if refused_on_line(rest) or " " in rest:
        raise WrongValue("holds a space or a control character: percent-encode it (a space is %20)")
    end = min((place for place in (rest.find("/"), rest.find("?")) if place >= 0), default=len(rest))
    authority, beyond = rest[:end], rest[end:]
    if "#" in rest or "@" in beyond or authority.count("@") > 1:
        raise WrongValue(f"can be read in two ways: {ENCODE}, as in {example}")
    if _BAD_PERCENT.search(rest):
        raise WrongValue(f"holds a % that begins no percent-encoded character: {ENCODE}")
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    path, _, query = beyond.partition("?")
    return UrlParts(scheme, decoded(user), decoded(password), hosts, path, _query(query))


def _offered(schemes: Mapping[str, str], first: str) -> Iterable[str]:
    return dict.fromkeys((first, *schemes.values()))


def decoded(text: str) -> str:
    """Decode what is percent-encoded; a plus stays a plus."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise WrongValue(f"holds percent-encoded bytes that are not UTF-8: {ENCODE}") from None
    if "\0" in plain:
        raise WrongValue("holds %00, which no name and no password can hold")
    return plain


def _query(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split("&")):
        written, separator, value = part.partition("=")
        name = decoded(written)
        shown = name if _NAME.fullmatch(name) else "a parameter"
        if not separator or not value:
            raise WrongValue(f"holds {shown} without a value: write {shown}=… or remove it")
        if name in found:
            raise WrongValue(f"holds {shown} twice: keep one of the two")
        found[name] = decoded(value)
    return found


def host_and_port(text: str, usual: int) -> tuple[str, int]:
    """Read `host`, `host:port` or `[IPv6]:port`."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise WrongValue("names no host and port that can be read: write host:port, an IPv6 address as [::1]:port")
    return host_name(decoded(found["host"].strip("[]"))), port_number(found["port"] or str(usual))


def host_name(text: str) -> str:
    """Accept a name, an IP address, or the folder of a Unix socket."""
    if text and not text.startswith("/") and not (_HOST_NAME.fullmatch(text) or _is_ipv6(text)):
        raise WrongValue(f"names a host with characters that no host has: {ENCODE}")
    return text


def _is_ipv6(text: str) -> bool:
    try:
        return isinstance(ip_address(text), IPv6Address)
    except ValueError:
        return False


def port_number(text: str) -> int:
    """Read a port."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise WrongValue("names a port that is none: a number from 1 to 65535")
    return int(text)


def shown_host(host: str, port: int) -> str:
    """Write a host as URLs have it."""
    if host.startswith("/"):
        return f"{host}:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def text_value(value: str) -> str:
    """Take a value as it is."""
    return value


def choice(*words: str) -> Callable[[str], str]:
    """Make a parser of one of these words."""

    def parse(value: str) -> str:
        if value not in words:
            raise WrongValue(f"must be {', '.join(words[:-1])} or {words[-1]}" if words[1:] else f"must be {words[0]}")
        return value

    return parse


def number(least: int, most: int, why: str = "") -> Callable[[str], int]:
    """Make a parser of whole numbers."""

    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise WrongValue(f"must be a whole number from {least} to {most}{why}")
        return int(value)

    return parse


def seconds(least: float, most: float, why: str = "") -> Callable[[str], float]:
    """Make a parser of seconds."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) or not least <= float(value) <= most:
            raise WrongValue(f"must be seconds from {least:g} to {most:g}{why}")
        return float(value)

    return parse


def readable_file(value: str) -> str:
    """Accept the path of a file that can be read."""
    try:
        # Reading a pipe or a device could block, or never end.
        if not Path(value).is_file():
            raise WrongValue("names no file that can be read: give its full path")
        with Path(value).open("rb") as file:
            file.read(1)
    except OSError:
        raise WrongValue("names no file that can be read: give its full path") from None
    return value


def readable_folder(value: str) -> str:
    """Accept the path of a folder."""
    if not Path(value).is_dir():
        raise WrongValue("names no folder: give its full path")
    return value


def tls_version(value: str) -> ssl.TLSVersion:
    """Read a version of TLS as libpq spells it."""
    versions = {"TLSV1.2": ssl.TLSVersion.TLSv1_2, "TLSV1.3": ssl.TLSVersion.TLSv1_3}
    if value.upper() not in versions:
        raise WrongValue("must be TLSv1.2 or TLSv1.3 (older ones are not safe)")
    return versions[value.upper()]


def load_authorities(context: ssl.SSLContext, name: str, *, file: str | None = None, folder: str | None = None) -> None:
    """Trust the certificate authorities in a file or folder; `name` is its parameter."""
    try:
        context.load_verify_locations(cafile=file, capath=folder)
    except (ssl.SSLError, OSError):
        raise WrongValue(f"holds the parameter {name}, which names no file of PEM certificates") from None


def load_certificate(
    context: ssl.SSLContext, names: tuple[str, str, str], certificate: str, key: str | None, password: str
) -> None:
    """Use a client certificate; `names` are the parameters of certificate, key and the key's password."""
    try:
        context.load_cert_chain(certificate, key, password=lambda: password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise WrongValue(f"holds {names[1]}, whose key does not belong to the certificate in {names[0]}") from None
        text = f"holds {names[0]} and {names[1]}, which cannot be read as PEM: is {names[2]} right, and is each there?"
        raise WrongValue(text) from None
    except OSError:
        raise WrongValue(f"holds {names[0]}, whose file or key cannot be read: give full paths") from None
