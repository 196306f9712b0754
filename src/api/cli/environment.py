"""What a command reads: the process environment, `.env.local`, `.env`, and a running `interalpha dev`."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from api.cli.terminal import Exit, Failure
from core.settings import CoreSettings, WrongValue, load, read_environment

DEFAULT_PORT = 8000
HOME = "INTERALPHA_HOME"
_DATA = ".interalpha"


@dataclass(frozen=True, slots=True)
class DevFolder:
    """The data folder of `interalpha dev`, as other commands read it; only `devkit` writes it."""

    folder: Path

    @property
    def keys_file(self) -> Path:
        """The file that holds ENCRYPTION_KEYS."""
        return self.folder / "keys"

    @property
    def settings_file(self) -> Path:
        """The file that exists while `interalpha dev` runs, and names its stores, keys and simulators."""
        return self.folder / "dev.env"

    def keys(self) -> str | None:
        """Read ENCRYPTION_KEYS as the first start drew them; None before that."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self.keys_file.read_text().strip() or None
        return None

    def settings(self) -> dict[str, str]:
        """Read the settings of the running `interalpha dev`; empty while none runs."""
        return {name: text for name, text in dotenv_values(self.settings_file, interpolate=False).items() if text}


def own_environment() -> dict[str, str]:
    """Read the process environment, `.env.local` and `.env`; raises Failure."""
    try:
        return read_environment(Path.cwd(), os.environ)
    except WrongValue as error:
        raise Failure(str(error), Exit.NOT_CONFIGURED) from None


def project_environment() -> dict[str, str]:
    """Read the same, also from a subfolder of a project: a parent folder with the data of `interalpha dev` counts.

    Raises Failure. Only commands used beside `interalpha dev` read this; `serve` and `reset` use the current folder.
    """
    environment = own_environment()
    if HOME in environment or (project := _parent_with_data(Path.cwd())) is None:
        return environment
    try:
        return {HOME: str(project / _DATA), **read_environment(project, {}), **environment}
    except WrongValue as error:
        raise Failure(str(error), Exit.NOT_CONFIGURED) from None


def _parent_with_data(here: Path) -> Path | None:
    """Find the nearest parent with data of `interalpha dev`; None if this folder itself has it."""
    for folder in (here, *here.parents):
        # Data that another user keeps in a shared parent, such as /tmp, is ignored.
        with suppress(OSError):
            if (folder / _DATA).stat().st_uid == os.getuid():
                return None if folder == here else folder
    return None


def dev_environment() -> dict[str, str]:
    """Read the same and, for settings that are not set, those of the running `interalpha dev`; never in production."""
    environment = project_environment()
    settings = core_settings(environment)
    if settings.is_production:
        return environment
    folder = DevFolder(settings.home)
    kept = {"ENCRYPTION_KEYS": keys} if (keys := folder.keys()) else {}
    return {**kept, **folder.settings(), **environment}


def core_settings(environment: Mapping[str, str]) -> CoreSettings:
    """Read the core's settings; raises Failure when they are wrong."""
    loaded = load(CoreSettings, environment)
    if loaded.value is None:
        problems = "\n".join(f"  {problem}" for problem in loaded.problems)
        raise Failure(
            f"The configuration is wrong:\n{problems}\nRun `interalpha check` for details.", Exit.NOT_CONFIGURED
        )
    return loaded.value


def port_from(environment: Mapping[str, str], option: int | None) -> int:
    """Choose the port: the option, PORT, or 8000; raises Failure when PORT is not a port."""
    if option is not None:
        return option
    text = environment.get("PORT", str(DEFAULT_PORT))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure("PORT is not a port: use a number from 1 to 65535, or unset it.", Exit.USAGE)
    return int(text)


def program() -> str:
    """Return what to type to run this program from here."""
    path = Path(sys.executable).with_name("interalpha")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
