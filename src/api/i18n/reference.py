"""The page that explains every error, from the catalogues: a reference in the docs, and served where errors link to."""

import sys
from collections.abc import Iterator
from html import escape

from api.i18n.catalogue import entries

_INTRODUCTION = {
    "en": (
        "Errors",
        "Every error an answer can hold. At the top level the code is in `extensions.code`, and where"
        " `extensions.reason` is there it says more exactly which; typed errors of a payload hold it in `code`. Codes"
        " are stable, sentences are not.",
    ),
    "pt-BR": (
        "Erros",
        "Todos os erros que uma resposta pode conter. No nível mais alto o código está em `extensions.code`, e"
        " `extensions.reason`, quando presente, diz com mais exatidão qual; os erros tipados de um payload o têm em"
        " `code`. Os códigos são estáveis, as frases não.",
    ),
}


def as_markdown() -> str:
    """Write the reference of the docs, in English."""
    title, introduction = _INTRODUCTION["en"]
    return "\n".join((f"# {title}\n", f"{introduction}\n", *_sections()))


def _sections() -> Iterator[str]:
    for code, entry in entries("en").items():
        sentence = f"> {entry.message}\n\n" if entry.message != "{message}" else ""
        yield f"## {code}\n\n{sentence}{entry.advice}\n"


def as_html(language: str) -> str:
    """Write the page that is served, in one language."""
    title, introduction = _INTRODUCTION[language]
    parts = [
        f'<h2 id="{code.lower()}">{code}</h2><p>{escape(_shown(entry.message))}</p><p>{escape(entry.advice)}</p>'
        for code, entry in entries(language).items()
    ]
    head = f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{title}</title>'
    return f"{head}<h1>{title}</h1><p>{escape(introduction)}</p>{''.join(parts)}</html>"


def _shown(message: str) -> str:
    return message.replace("{message}", "…")


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
