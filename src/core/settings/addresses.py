"""Checking the URLs in settings: of web services, of this API, of PostgreSQL and Redis."""

import ipaddress
import re
import unicodedata
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, SecretStr

from core.characters import refused_on_line
from core.settings.postgres_url import read_postgres_url
from core.settings.redis_url import read_redis_url
from core.settings.variables import WrongValue


def is_loopback(address: str) -> bool:
    """Say whether a URL or bare host name means this machine."""
    try:
        host = (urlsplit(address).hostname if "://" in address else address.strip("[]")) or ""
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_web_address(text: str) -> str:
    """Return the address without its last slash; raises WrongValue unless it is HTTPS, or HTTP on this machine."""
    parts = split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongValue("is not an address: write it like https://host or https://host/path")
    if parts.scheme == "http" and not is_loopback(text):
        raise WrongValue("must begin with https:// (only addresses of this machine may use http://)")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise WrongValue("must hold no user name, password, question mark or #: only https://host/path")
    return text.rstrip("/")


def check_origin(text: str) -> str:
    """Return the origin of a page as browsers send it; raises WrongValue for anything with a path."""
    parts = split(check_web_address(text))
    if parts is None or parts.path:
        raise WrongValue("must be origins, without a path: https://host or https://host:port")
    return origin_of(text)


def origin_of(address: str) -> str:
    """The Origin that browsers send for pages at an address: no path, and no default port."""
    parts = urlsplit(address)
    host = parts.netloc.lower().removesuffix({"https": ":443", "http": ":80"}.get(parts.scheme, ":"))
    return f"{parts.scheme}://{host}"


def split(text: str) -> SplitResult | None:
    """Take a URL apart; None where it is not one."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises on a port that is not a number
    except ValueError:
        return None
    # Invisible characters in a host remain from copying, and make it another host.
    is_hidden = any(unicodedata.category(character)[0] in "CZ" for character in parts.hostname or "")
    return None if is_hidden or refused_on_line(text) or re.search(r"[\s\\]", text) else parts


def check_database_url(secret: SecretStr) -> SecretStr:
    """Accept a PostgreSQL URL that the connections can be made with; raises WrongValue saying what is wrong."""
    read_postgres_url(secret.get_secret_value())
    return secret


def check_direct_url(secret: SecretStr) -> SecretStr:
    """Accept a database URL that does not lead through a pooler."""
    if is_pooled(check_database_url(secret)):
        raise WrongValue(
            "leads to the pooler: migrations need the direct address, the host without -pooler, and no pgbouncer=true"
        )
    return secret


def is_pooled(url: SecretStr) -> bool:
    """Say whether a database URL leads to a pooler."""
    return read_postgres_url(url.get_secret_value()).is_pooled


def check_redis_url(secret: SecretStr) -> SecretStr:
    """Accept a Redis URL that the connections can be made with; raises WrongValue saying what is wrong."""
    read_redis_url(secret.get_secret_value())
    return secret


WebAddress = Annotated[str, AfterValidator(check_web_address)]
WebOrigin = Annotated[str, AfterValidator(check_origin)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(check_database_url)]
DirectDatabaseUrl = Annotated[SecretStr, AfterValidator(check_direct_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(check_redis_url)]


LOOPBACK = "127.0.0.1"
