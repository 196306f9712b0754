"""The text of `.env.example`: every setting there is, grouped by who asks for it."""

from collections.abc import Iterator, Sequence

from core.settings import CoreSettings, Variable, describe
from integrations.registry import all_integrations

_HEAD = """\
# Every setting of Interalpha. Made from the code; a test compares the two.
#
# `make dev` needs none of it. For anything else copy this file to .env and fill in what you use; an integration is
# used when its variables are set, and `interalpha check` says what is missing.
# The process environment wins over .env.local, which wins over .env; an empty value counts as unset, and hides the
# value of the file after it.
# A secret (marked so below) may also stand in a file, as Docker and Kubernetes mount them:
# NAME_FILE=/run/secrets/name in place of NAME. Spaces and line breaks at its ends are left out.
"""


def env_example() -> str:
    """Return the file's text: defaults behind a #, so that a copy of the file overrides none; everything else empty."""
    sections = [_section("Interalpha", describe(CoreSettings))]
    sections += (_section(card.title, describe(card.settings), card.docs) for card in all_integrations().values())
    return "\n".join((_HEAD, *sections))


def _section(title: str, variables: Sequence[Variable], docs: str = "") -> str:
    heading = [f"# ─── {title} {'─' * (72 - len(title))}", *([f"# {docs}"] if docs else [])]
    return "\n".join((*heading, "", *(line for variable in variables for line in _entry(variable)), ""))


def _entry(variable: Variable) -> Iterator[str]:
    aliases = f" (also read as {', '.join(variable.aliases)})" if variable.aliases else ""
    secret = " Secret." if variable.secret else ""
    yield f"# {variable.about}{aliases}: {variable.mend}.{secret}"
    yield f"{variable.name}=" if variable.default is None else f"#{variable.name}={variable.default}"


if __name__ == "__main__":
    print(env_example(), end="")  # noqa: T201 - this is how the committed file is made
