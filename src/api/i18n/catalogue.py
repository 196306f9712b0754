"""The catalogues of errors and problems: a sentence and advice for every code, in every language we speak."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.words import ErrorText, ProblemText, Sentence

ENGLISH = "en"
LANGUAGES = (ENGLISH, "pt-BR")
DOCS = "/docs/errors"


@dataclass(frozen=True, slots=True)
class Entry:
    """One code's sentence, with {places}, and what to do about it."""

    message: str
    advice: str


@cache
def entries(language: str) -> Mapping[str, Entry]:
    """Read one language's catalogue."""
    text = Path(__file__).with_name(f"{language}.json").read_text(encoding="utf-8")
    return {code: Entry(**entry) for code, entry in json.loads(text).items()}


@cache
def problem_texts(language: str) -> Mapping[str, ProblemText]:
    """Read one language's catalogue of problems."""
    text = Path(__file__).with_name(f"problems.{language}.json").read_text(encoding="utf-8")
    return {code: ProblemText(**entry) for code, entry in json.loads(text).items()}


def language_for(languages: Sequence[str]) -> str:
    """Find the first language that has a catalogue (any Portuguese is better than none); English where none has."""
    for wanted in languages:
        for offered in LANGUAGES:
            if offered.lower().partition("-")[0] == wanted.partition("-")[0]:
                return offered
    return ENGLISH


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Says errors in a caller's language; `address` is where this server is reached, whose page explains them."""

    address: str

    def language(self, languages: Sequence[str]) -> str:
        """Name the language that will be spoken."""
        return language_for(languages)

    def tell(self, code: str, message: str, languages: Sequence[str], places: Mapping[str, object]) -> ErrorText:
        """Say an error; `message` in English and as it came where the catalogue has no words for it."""
        language = language_for(languages)
        if isinstance(message, Sentence):
            code = message.code
        entry = entries(language).get(code)
        page = f"{self.address.rstrip('/')}{DOCS}#{code.lower()}"
        if entry is None:
            return ErrorText(message, "", page)
        return ErrorText(_said(message, language, code, places), entry.advice, page)

    def problem(self, code: str, languages: Sequence[str]) -> ProblemText | None:
        """Say a problem; None where the catalogue has no words for it."""
        return problem_texts(language_for(languages)).get(code)

    def describe(self, error: Mapping[str, Any], languages: Sequence[str]) -> Mapping[str, Any]:
        """Put an error of the top level into words: its message, and advice and page among its extensions."""
        extensions, message = error["extensions"], error["message"]
        told = self.tell(extensions["code"], message, languages, extensions)
        exact = {"reason": message.code} if isinstance(message, Sentence) and message.code != extensions["code"] else {}
        words = {"advice": told.advice, "docs": told.docs}
        return {**error, "message": told.message, "extensions": {**extensions, **exact, **words}}


def _said(message: str, language: str, code: str, places: Mapping[str, object]) -> str:
    if language == ENGLISH:
        return message
    if isinstance(message, Sentence):
        code, places = message.code, message.places
    else:
        # What has only a kind passes its English words on.
        places = {"message": message, **places}
    entry = entries(language).get(code)
    filled = {name: _filling(value, language) for name, value in places.items() if value is not None}
    try:
        return message if entry is None else entry.message.format_map(filled)
    except KeyError:
        return message


def _filling(value: object, language: str) -> object:
    # A sentence within a sentence is said in the same language.
    return _said(value, language, value.code, value.places) if isinstance(value, Sentence) else value
