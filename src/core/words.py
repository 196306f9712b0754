"""Sentences for people: an English string that keeps its code and values, so that it can be translated.

`say` makes one. It can be logged, joined and compared like any string; where a caller is answered, its code is looked
up in the catalogue of the caller's language, and the same values fill the places of the sentence there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Sentence(str):
    """An English sentence, its code, and the values of its places: texts, numbers, or sentences."""

    __slots__ = ("code", "places")

    code: str
    places: Mapping[str, object]


def say(code: str, template: str, /, **places: object) -> Sentence:
    """Fill a template; the English catalogue holds code and template too, and a test compares the two."""
    sentence = Sentence(template.format_map(places) if places else template)
    sentence.code, sentence.places = code, places
    return sentence


@dataclass(frozen=True, slots=True)
class ErrorText:
    """An error as a caller reads it: what happened, what to do, and the page that explains it."""

    message: str
    advice: str
    docs: str


@dataclass(frozen=True, slots=True)
class ProblemText:
    """A problem as an operator reads it: what is wrong, and what to do."""

    title: str
    advice: str


class Translator(Protocol):
    """Translates sentences and errors with the catalogues; implemented in `api/i18n`."""

    def tell(self, code: str, message: str, languages: Sequence[str], places: Mapping[str, object]) -> ErrorText:
        """Translate into the first of the languages (lower case, best first) that has a catalogue, else English.

        A message that is no Sentence is replaced by the sentence of `code`, filled with `places`.
        """

    def describe(self, error: Mapping[str, Any], languages: Sequence[str]) -> Mapping[str, Any]:
        """Translate an error at the top level of a GraphQL answer."""

    def language(self, languages: Sequence[str]) -> str:
        """The language that will be used."""

    def problem(self, code: str, languages: Sequence[str]) -> ProblemText | None:
        """The title and advice of a problem in the language that will be used; None for an unknown code."""
