"""Where settings come from: `.env`, then `.env.local`, then the process environment, the later winning."""

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from core.settings.problems import WrongValue


def read_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return every variable that has a value; an empty one counts as unset and lets the file before it speak.

    Raises WrongValue when a file is not UTF-8.
    """
    files = (_read_file(folder / name) for name in (".env", ".env.local"))
    merged: dict[str, str] = {}
    for source in (*files, environ):
        merged |= present(source)
    return merged


def present(source: Mapping[str, str | None]) -> dict[str, str]:
    """Keep what has a value, without the spaces around it."""
    return {name: text.strip() for name, text in source.items() if text and text.strip()}


def _read_file(path: Path) -> Mapping[str, str | None]:
    try:
        # Not interpolated: a password may hold a dollar sign.
        return dotenv_values(path, interpolate=False)
    except UnicodeDecodeError:
        raise WrongValue(f"{path} is not UTF-8: save it in that encoding") from None
