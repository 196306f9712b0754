"""What `interalpha dev` keeps in the data folder beside the stores: keys, logs, and what its parts were given."""

import base64
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from devkit.embedded.folder import write_private


@dataclass(frozen=True, slots=True)
class Home:
    """The data folder; what the stores keep in it is theirs."""

    folder: Path

    @property
    def logs(self) -> Path:
        """The folder of the parts' logs."""
        return self.folder / "logs"

    @property
    def _keys(self) -> Path:
        return self.folder / "keys"

    @property
    def _environment(self) -> Path:
        return self.folder / "dev.env"

    def known_keys(self) -> str | None:
        """Read ENCRYPTION_KEYS as the first start drew them; None before that."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._keys.read_text().strip() or None
        return None

    def keys(self) -> str:
        """Read ENCRYPTION_KEYS; at the first time they are drawn at random."""
        if known := self.known_keys():
            return known
        drawn = f"dev:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        write_private(self._keys, drawn)
        return drawn

    def open_logs(self) -> None:
        """Make an empty folder for the logs of a new start."""
        if self.logs.exists():
            shutil.rmtree(self.logs)
        self.logs.mkdir(mode=0o700)

    def tell(self, environment: Mapping[str, str]) -> None:
        """Write down what commands in other terminals need to know."""
        write_private(self._environment, "".join(f"{name}={_quoted(text)}\n" for name, text in environment.items()))

    def told(self) -> dict[str, str]:
        """Read what was written down; empty while nothing runs."""
        return {name: text for name, text in dotenv_values(self._environment, interpolate=False).items() if text}

    def forget_told(self) -> None:
        """Remove what was written down, since it no longer holds."""
        self._environment.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Remove all of it."""
        self.forget_told()
        self._keys.unlink(missing_ok=True)
        if self.logs.exists():
            shutil.rmtree(self.logs)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
