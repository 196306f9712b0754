"""The manifest of trusted documents: a JSON file of the operations our own frontends were built with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core.settings.problems import WrongValue


class TrustMode(StrEnum):
    """What becomes of a document that is not in the manifest: it runs, it runs and is logged, or it is refused."""

    OFF = "off"
    LOG = "log"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Documents by the SHA-256 of their text, in lower-case hexadecimals."""

    documents: Mapping[str, str] = field(default_factory=dict, repr=False)


def digest(document: str) -> str:
    """Name a document as manifests and persisted queries do: the SHA-256 of its text."""
    # A lone surrogate cannot be encoded and never parses, but it can be sent.
    return hashlib.sha256(document.encode(errors="surrogatepass")).hexdigest()


def read_manifest(path: object) -> object:
    """Read the file of that name; raises WrongValue saying what is wrong with it."""
    if not isinstance(path, str):
        return path
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WrongValue("names no JSON file that can be read: give its full path") from None
    if not isinstance(told, dict) or not all(isinstance(text, str) for text in told.values()):
        raise WrongValue('names a file of another form: it must hold {"sha256 of a document": "the document"}')
    # The GraphQL over HTTP draft writes the algorithm in front, and so does graphql-codegen.
    documents = {str(name).lower().removeprefix("sha256:"): text for name, text in told.items()}
    wrong = [name for name, text in documents.items() if name != digest(text)]
    if wrong:
        raise WrongValue(
            f"names a file with {len(wrong)} of {len(documents)} names that are not their document's SHA-256 "
            f"({wrong[0][:16]}…): make it with sha256, which is not the default of every compiler"
        )
    return Manifest(documents)
