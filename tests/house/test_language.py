"""What users read has the terms of the glossary: words that the architecture page replaced do not come back."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "explanation" / "architecture.md"
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", ".env.example", "schema.graphql", "Makefile")),
    ROOT / "src" / "api" / "i18n" / "en.json",
    ROOT / "src" / "api" / "i18n" / "problems.en.json",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("src/integrations/*/README.md")),
    *sorted(path for path in ROOT.glob("web/graphiql/**/*") if path.suffix in {".ts", ".tsx", ".graphql"}),
    *sorted(ROOT.glob("deploy/*")),
    ROOT / "examples" / "typescript" / "README.md",
]
REPLACED = re.compile(
    r"\b(compan(?:y|ies)|doorsteps?|purses?|households?|doubts|workshop|courier|clockwork|asleep|nursery|births|cellar"
    r"|gatekeeper|who(?:m)?ever|bur(?:y|ied)|hand(?:s|ed)? in|given up|gave up)\b",
    re.IGNORECASE,
)
# Ordinary English that is meant as it stands.
MEANT = (
    "Company mirrors and proxies",
    "has given up",
)
# Names that stored data has: jobs in Redis, and the snapshots of simulators.
STORED = {"Workshop.", "company"}


def replaced_words(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if path == GLOSSARY:
        # The glossary's last column lists the words themselves.
        lines = [line for line in lines if not line.startswith("|")]
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if REPLACED.search(line) and not any(meant in line for meant in MEANT)
    ]


def test_no_text_for_users_has_a_word_that_the_glossary_replaced() -> None:
    assert [found for path in TEXTS for found in replaced_words(path)] == []


def replaced_in_strings(path: Path) -> list[str]:
    """Texts in code, such as answers and log lines, that have a replaced word; docstrings are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    # An answer may be written as bytes.
    texts = [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]
    texts += [(node.lineno, node.value.decode(errors="replace")) for node in constants if isinstance(node.value, bytes)]
    return [
        f"{path.relative_to(ROOT)}:{number}: {text}"
        for number, text in texts
        if text not in STORED and REPLACED.search(text)
    ]


def test_no_text_in_code_has_a_replaced_word() -> None:
    assert [found for path in sorted(ROOT.glob("src/**/*.py")) for found in replaced_in_strings(path)] == []


def test_a_replaced_word_is_found() -> None:
    assert REPLACED.search("Whoever runs this server") is not None
    assert REPLACED.search("The operator of this server") is None
