"""Where settings come from: `.env`, then `.env.local`, then the process environment, the later winning."""

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from core.settings.problems import WrongValue

# Files for `docker run --env-file` are read without taking quotation marks off.
_EMPTY = ("", '""', "''")


def read_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return every variable that has a value.

    An empty one counts as unset and overrides the files before it: `SMTP_USERNAME=` in the process environment leaves
    out what `.env` says. Raises WrongValue when a file cannot be read or is not UTF-8.
    """
    files = (_read_file(folder / name) for name in (".env", ".env.local"))
    merged: dict[str, str | None] = {}
    for source in (*files, environ):
        # A name without an equals sign, which python-dotenv gives as None, says nothing.
        merged |= {name: text for name, text in source.items() if text is not None}
    return present(merged)


def present(source: Mapping[str, str | None]) -> dict[str, str]:
    """Keep what has a value, without the spaces around it; a pair of quotation marks holds none."""
    stripped = {name: (text or "").strip() for name, text in source.items()}
    return {name: text for name, text in stripped.items() if text not in _EMPTY}


def _read_file(path: Path) -> Mapping[str, str | None]:
    try:
        # Not interpolated: a password may hold a dollar sign. Some editors begin a file with a byte order mark.
        return dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except OSError:
        raise WrongValue(f"{path} cannot be read: look at its permissions") from None
    except UnicodeDecodeError:
        raise WrongValue(f"{path} is not UTF-8: save it in that encoding") from None
