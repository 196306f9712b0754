"""Every error a caller can get has a message in both languages and a place in the reference."""

import ast
import string
from collections.abc import Iterator
from functools import cache

import pytest

import core.errors
import core.templates.tables
from api.i18n.catalogue import LANGUAGES, entries, problem_texts
from core.errors import AppError, InvalidSignature, ProviderError
from core.problems.probes import FAILED, NO_ANSWER
from engine.errors import ErrorCode
from tests.house.sources import ROOT, sources

assert core.templates.tables.TemplateNotUsable


def places_of(template: str) -> set[str]:
    """Name the places of a sentence."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@cache
def said() -> list[tuple[str, str, set[str], str]]:
    """Every sentence of the source: its code, its template, the names of what fills it, and its place."""
    found = []
    for source in sources():
        if not any(isinstance(node, ast.ImportFrom) and node.module == "core.words" for node in ast.walk(source.tree)):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "say":
                code, template = (ast.literal_eval(one) for one in node.args)
                found.append((code, template, {str(one.arg) for one in node.keywords}, source.name))
    return found


# Failures between us and providers are shown to operators, in English; the rest may be shown to any caller.
TOLD = [one for one in AppError.__subclasses__() if not issubclass(one, ProviderError | InvalidSignature)]


def kinds(error: type[AppError] = AppError) -> Iterator[str]:
    yield error.code
    for one in error.__subclasses__():
        yield from kinds(one)


def codes_at_the_edge() -> Iterator[str]:
    """Codes that are written down as the first or second argument of an error of the edge, or as an extension."""
    for source in sources():
        if not source.name.startswith("api/"):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("HttpError", "MalformedRequest"):
                yield from (
                    one.value
                    for one in node.args
                    if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.isupper()
                )


def test_every_raised_code_has_a_message() -> None:
    raised = (
        {code for code, *_ in said()} | set(kinds()) | {code.value for code in ErrorCode} | set(codes_at_the_edge())
    )
    raised |= {"QUOTA_EXCEEDED", "DOCUMENT_NOT_TRUSTED", "PERSISTED_QUERY_NOT_FOUND", "BAD_REQUEST"}
    assert len(raised) > 130
    assert raised - entries("en").keys() == set()


def unsaid() -> Iterator[str]:
    """Places where an error for callers is raised with a message that no catalogue holds."""
    told = {one.__name__ for root in TOLD for one in (root, *heirs(root))}
    for source in sources():
        for function in source.functions:
            named = {
                name.id: node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for name in node.targets
                if isinstance(name, ast.Name)
            }
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in told:
                    for one in node.args:
                        words = named.get(one.id) if isinstance(one, ast.Name) else one
                        if isinstance(words, ast.JoinedStr | ast.Constant) and " " in ast.unparse(words):
                            yield f"{source.name}:{node.lineno}: {ast.unparse(words)}"


def heirs(error: type[AppError]) -> Iterator[type[AppError]]:
    for one in error.__subclasses__():
        yield one
        yield from heirs(one)


def test_every_raise_for_callers_uses_a_message_of_the_catalogue() -> None:
    assert list(unsaid()) == []


def test_no_message_is_kept_that_is_not_raised() -> None:
    text = "".join((ROOT / "src" / source.name).read_text() for source in sources())
    assert [code for code in entries("en") if f'"{code}"' not in text] == []


def test_the_catalogue_of_english_says_what_the_source_says() -> None:
    english = entries("en")
    assert [(place, code) for code, template, _, place in said() if english[code].message != template] == []
    assert [(place, code) for code, template, filled, place in said() if places_of(template) != filled] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_languages_have_the_same_codes_and_placeholders(language: str) -> None:
    english, other = entries("en"), entries(language)
    assert list(other) == sorted(english)
    for code, entry in other.items():
        assert entry.message, code
        assert entry.advice, code
        # Where English passes a message on, other languages say what kind it is and pass it on too.
        assert places_of(entry.message) == places_of(english[code].message), code


def test_nothing_was_forgotten_in_english() -> None:
    same = {code for code, entry in entries("pt-BR").items() if entry.message == entries("en")[code].message}
    # Clients wait for these very words.
    assert same == {"PERSISTED_QUERY_NOT_FOUND", "PERSISTED_QUERY_NOT_SUPPORTED"}


def codes_of_problems() -> Iterator[str]:
    """The codes that probes of our integrations give their findings, and those that problems are opened with."""
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("Finding", "NewProblem"):
                is_finding = getattr(node.func, "id", None) == "Finding"
                code = node.args[0 if is_finding else 1]
                if isinstance(code, ast.Constant) and (source.name.startswith("integrations/") or not is_finding):
                    yield str(code.value)


def test_every_problem_has_a_title_and_advice_in_all_languages() -> None:
    # A server for mail has a name before its code.
    of_mail = {f"{name}_{end}" for name in ("SMTP", "SMTP_FALLBACK") for end in ("REFUSES_US", "UNREACHABLE")}
    opened = {*codes_of_problems(), *of_mail, FAILED, NO_ANSWER}
    assert "TWILIO_REFUSES_US" in opened
    for language in LANGUAGES:
        texts = problem_texts(language)
        assert list(texts) == sorted(opened), language
        assert all(text.title.endswith(".") and text.advice.endswith(".") for text in texts.values())
    translated = problem_texts("pt-BR")
    assert [code for code, text in problem_texts("en").items() if translated[code].title == text.title] == []
