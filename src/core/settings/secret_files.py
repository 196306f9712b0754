"""Secrets that stand in files, as Docker and Kubernetes mount them: NAME_FILE names the file that holds NAME."""

from collections.abc import Mapping
from pathlib import Path

from core.settings.problems import WrongValue

LARGEST = 65_536
"""Bytes; the longest secret here is a list of keys."""


def read_secret(name: str, environment: Mapping[str, str]) -> str | None:
    """Return a secret, from its variable or from the file that NAME_FILE names; None where neither is set.

    Raises WrongValue, about NAME_FILE, where both are set or the file holds no secret.
    """
    text, path = environment.get(name), environment.get(f"{name}_FILE")
    if path is None:
        return text
    if text is not None:
        raise WrongValue(f"is set, and so is {name}: keep one of the two")
    return _read(Path(path))


def _read(path: Path) -> str:
    try:
        # A pipe or a device would be waited for, or never end.
        if not path.is_file():
            raise WrongValue("names no file that can be read: give its full path")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError:
        raise WrongValue("names no file that can be read: give its full path") from None
    if len(data) > LARGEST:
        raise WrongValue(f"names a file of more than {LARGEST} bytes: no secret is that long")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise WrongValue("names a file that is not UTF-8 text: write the secret into it as it is") from None
    if not text:
        raise WrongValue("names an empty file: write the secret into it, or unset the variable")
    return text
