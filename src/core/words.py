"""Sentences people are told: in English, and with what it takes to say the same in another language.

`say` makes one. It is a string like any other, so whoever logs, joins or compares messages need not know; whoever
answers a caller looks up its code in the catalogue of the caller's language and fills the same places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Sentence(str):
    """An English sentence, its code, and what fills its places: texts, numbers, or sentences again."""

    __slots__ = ("code", "places")

    code: str
    places: Mapping[str, object]


def say(code: str, template: str, /, **places: object) -> Sentence:
    """Fill a template; code and template are in the catalogue of English too, and a test compares the two."""
    sentence = Sentence(template.format_map(places) if places else template)
    sentence.code, sentence.places = code, places
    return sentence


@dataclass(frozen=True, slots=True)
class ErrorText:
    """What a caller reads of an error: what happened, what to do, and the page that says more."""

    message: str
    advice: str
    docs: str


class Translator(Protocol):
    """Knows the catalogues."""

    def tell(self, code: str, message: str, languages: Sequence[str], places: Mapping[str, object]) -> ErrorText:
        """Say it in the first of the languages (lower case, best first) there is a catalogue for, else in English.

        A message that is no Sentence is one of `code`; `places` fill that code's own sentence.
        """

    def describe(self, error: Mapping[str, Any], languages: Sequence[str]) -> Mapping[str, Any]:
        """Put an error of a GraphQL answer's top level into words."""

    def language(self, languages: Sequence[str]) -> str:
        """Name the language that will be spoken."""
