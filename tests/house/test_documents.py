"""What documents point to exists: links, their anchors, and the paths of the repository that they name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(path for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (path := ROOT / name).exists()),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("src/integrations/*/README.md")),
    ROOT / "examples" / "typescript" / "README.md",
]
# What a build makes, and is not committed.
BUILT = ("src/api/pages/graphiql", "dist/", "web/dist", "src/graphql/persisted-documents.json")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(
    r"(?<![\w./:-])((?:src|tests|docs|bench|deploy|examples|migrations|web|core|api|engine|resolvers|integrations"
    r"|devkit)/[\w./-]*[\w/])"
)
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


def broken_links(document: Path) -> Iterator[str]:
    for link in _LINK.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield f"{document.relative_to(ROOT)}: {link}"


def missing_paths(document: Path) -> Iterator[str]:
    for named in _PATH.findall(document.read_text(encoding="utf-8")):
        if named.startswith(BUILT):
            continue
        places = (ROOT / named, ROOT / "src" / named, ROOT / "tests" / named, document.parent / named)
        if not any(place.exists() for place in places):
            yield f"{document.relative_to(ROOT)}: {named}"


def test_every_link_leads_somewhere() -> None:
    assert [broken for document in DOCUMENTS for broken in broken_links(document)] == []


def test_every_path_that_documents_name_exists() -> None:
    assert [missing for document in DOCUMENTS for missing in missing_paths(document)] == []


def test_every_page_is_in_the_index() -> None:
    index = {
        (ROOT / "docs" / link.partition("#")[0]).resolve()
        for link in _LINK.findall((ROOT / "docs/README.md").read_text())
    }
    pages = set(ROOT.glob("docs/[!a]*/*.md"))
    assert {page.relative_to(ROOT) for page in pages - index} == set()
    decisions = {(ROOT / "docs/adr" / link) for link in _LINK.findall((ROOT / "docs/adr/README.md").read_text())}
    assert set(ROOT.glob("docs/adr/0*.md")) - decisions == set()


def reasons(source: str) -> set[str]:
    """The beginnings of the sentences with which webhooks are refused."""
    calls = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    texts = (
        call.args[0].value
        for call in calls
        if call.func.id == "InvalidSignature" and isinstance(call.args[0], ast.Constant)
    )
    return {re.split(r":|\.$", str(text))[0] for text in texts}


def test_every_reason_to_refuse_a_webhook_is_in_the_guide() -> None:
    guide = (ROOT / "docs/how-to/webhook-refused.md").read_text(encoding="utf-8")
    found = {
        reason for path in ROOT.glob("src/integrations/*/webhook.py") for reason in reasons(path.read_text("utf-8"))
    }
    assert len(found) > 8
    assert {reason for reason in found if reason not in guide} == set()
