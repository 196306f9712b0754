"""What `interalpha dev` keeps in the data folder beside the stores: keys, logs, and what its parts were given."""

import base64
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from api.cli.environment import DevFolder
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
    def _files(self) -> DevFolder:
        return DevFolder(self.folder)

    def keys(self) -> str:
        """Read ENCRYPTION_KEYS; the first start draws them at random."""
        if known := self._files.keys():
            return known
        drawn = f"dev:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        write_private(self._files.keys_file, drawn)
        return drawn

    def open_logs(self) -> None:
        """Make an empty folder for the logs of a new start."""
        if self.logs.exists():
            shutil.rmtree(self.logs)
        self.logs.mkdir(mode=0o700)

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """Write down what commands in other terminals need to know."""
        text = "".join(f"{name}={_quoted(value)}\n" for name, value in settings.items())
        write_private(self._files.settings_file, text)

    def remove_settings(self) -> None:
        """Remove what `write_settings` wrote, since it no longer holds."""
        self._files.settings_file.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Remove all of it."""
        self.remove_settings()
        self._files.keys_file.unlink(missing_ok=True)
        if self.logs.exists():
            shutil.rmtree(self.logs)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
