"""Which of our media types a client likes best, and which languages it reads (RFC 9110, section 12.5)."""

import re
from enum import StrEnum

_LANGUAGE = re.compile(r"[a-z]{1,8}(-[a-z0-9]{1,8})*")
_MOST_LANGUAGES = 10


class MediaType(StrEnum):
    """What we can answer with, first choice first."""

    JSON = "application/json"
    GRAPHQL = "application/graphql-response+json"
    EVENTS = "text/event-stream"


def negotiate(accept: str | None) -> MediaType | None:
    """Choose by quality, then by how exactly the client named it, then by its order; None if nothing will do."""
    if accept is None or not accept.strip():
        return MediaType.JSON
    wishes = [_read(wish) for wish in accept.split(",")]
    best: tuple[tuple[float, int, int], MediaType] | None = None
    for offer in MediaType:
        rank = _rank(offer, wishes)
        if rank[0] > 0 and (best is None or rank > best[0]):
            best = (rank, offer)
    return best and best[1]


def languages_of(accept_language: str | None) -> tuple[str, ...]:
    """Read the languages a client wants, best first, in lower case; none if it does not care."""
    wishes = [_read(wish) for wish in (accept_language or "").split(",")[:_MOST_LANGUAGES]]
    wanted = [(language, quality) for language, quality in wishes if quality > 0 and _LANGUAGE.fullmatch(language)]
    return tuple(language for language, _ in sorted(wanted, key=lambda wish: -wish[1]))


def media_type_of(content_type: str | None) -> tuple[str, str | None]:
    """Read a Content-Type: the type in lower case, and the charset if one is given."""
    media_type, *parameters = (content_type or "").split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return media_type.strip().lower(), value.strip().strip('"').lower()
    return media_type.strip().lower(), None


def _read(wish: str) -> tuple[str, float]:
    media_range, *parameters = wish.split(";")
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media_range.strip().lower(), quality


def _rank(offer: MediaType, wishes: list[tuple[str, float]]) -> tuple[float, int, int]:
    """The most exact wish decides: quality, exactness, and how early it stands."""
    for exactness, media_range in ((2, offer.value), (1, offer.partition("/")[0] + "/*"), (0, "*/*")):
        for place, (wished, quality) in enumerate(wishes):
            if wished == media_range:
                return quality, exactness, -place
    return 0.0, 0, 0
