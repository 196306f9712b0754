"""The page that explains every error code: Markdown for the documentation, HTML for the links in errors."""

import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.http.exchange import languages_of
from api.i18n.catalogue import DOCS, LANGUAGES, entries, language_for

STYLE = Path(__file__).with_name("errors.css").read_text(encoding="utf-8")
_PLACE = re.compile(r"\{\w+\}")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class _Words:
    """What the page says besides the catalogue, in one language."""

    name: str
    title: str
    introduction: str
    index: str


_WORDS = {
    "en": _Words(
        "English",
        "Errors",
        "Every error an answer can hold. A request that fails as a whole has the code in `extensions.code`; where there"
        " is an `extensions.reason`, it names the exact cause. The typed errors of a payload have it in `code`. Codes"
        " are stable. Sentences may change; `…` stands for a value that the error fills in.",
        "All {count} codes",
    ),
    "pt-BR": _Words(
        "Português",
        "Erros",
        "Todos os erros que uma resposta pode conter. Quando a requisição inteira falha, o código está em"
        " `extensions.code`; se houver `extensions.reason`, ele indica a causa exata. Os erros tipados de um payload"
        " trazem o código em `code`. Os códigos são estáveis. As frases podem mudar; `…` indica um valor que o erro"
        " preenche.",
        "Todos os {count} códigos",
    ),
}


def as_markdown() -> str:
    """Write the reference of the docs, in English."""
    words = _WORDS["en"]
    return "\n".join((f"# {words.title}\n", f"{words.introduction}\n", *_sections()))


def _sections() -> Iterator[str]:
    for code, entry in entries("en").items():
        sentence = f"> {_PLACE.sub('…', entry.message)}\n\n" if entry.message != "{message}" else ""
        yield f"## {code}\n\n{sentence}{entry.advice}\n"


def as_html(language: str) -> str:
    """Write the page that is served, in one language."""
    words, known = _WORDS[language], entries(language)
    others = " · ".join(
        f'<a href="?lang={other}" hreflang="{other}" lang="{other}">{_WORDS[other].name}</a>'
        for other in LANGUAGES
        if other != language
    )
    index = "".join(f'<li><a href="#{code.lower()}">{code}</a></li>' for code in known)
    sections = "".join(_section(code, entry.message, entry.advice) for code, entry in known.items())
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{words.title} · Interalpha</title><style>{STYLE}</style></head><body>"
        f"<header><b>Interalpha</b><span>{others}</span></header><main>"
        f"<h1>{words.title}</h1><p>{_prose(words.introduction)}</p>"
        f"<nav><details><summary>{words.index.format(count=len(known))}</summary><ul>{index}</ul></details></nav>"
        f"{sections}</main></body></html>"
    )


def _section(code: str, message: str, advice: str) -> str:
    anchor = code.lower()
    # Where the sentence is made on the spot there is none to show.
    said = "" if message == "{message}" else f'<p class="said">{_prose(message)}</p>'
    return f'<section id="{anchor}"><h2><a href="#{anchor}">{code}</a></h2>{said}<p>{_prose(advice)}</p></section>'


def _prose(text: str) -> str:
    """Write a sentence of the catalogue as HTML: names in code, and a mark where the error fills in a value."""
    marked = _PLACE.sub("<var>…</var>", escape(text, quote=False))
    return _CODE.sub(r"<code>\1</code>", marked)


if __name__ == "__main__":
    sys.stdout.write(as_markdown())


# The HTML page that errors link to, in the reader's language.


_STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
_HEADERS = {
    "vary": "accept-language",
    "cache-control": "public, max-age=3600",
    "x-content-type-options": "nosniff",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def errors_route() -> HTTPRouteHandler:
    """Give the route of the page."""

    @get(DOCS, include_in_schema=False)
    async def errors(request: Request[Any, Any, Any]) -> Response[str]:
        wanted = request.query_params.get("lang") or request.headers.get("accept-language")
        language = language_for(languages_of(wanted))
        headers = {**_HEADERS, "content-language": language}
        return Response(as_html(language), media_type="text/html", headers=headers)

    return errors
