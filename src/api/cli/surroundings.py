"""What a command is told: the process environment, `.env.local`, `.env`, and what a running `interalpha dev` says."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from api.cli.failures import Exit, Failure
from api.dev.home import Home
from core.settings import CoreSettings, WrongValue, load, read_environment

DEFAULT_PORT = 8000


def own_environment() -> dict[str, str]:
    """Read what a person has set; raises Failure."""
    try:
        return read_environment(Path.cwd(), os.environ)
    except WrongValue as error:
        raise Failure(str(error), Exit.NOT_CONFIGURED) from None


def dev_environment() -> dict[str, str]:
    """Read the same and, for what nobody has set, what `interalpha dev` gave its parts; never in production."""
    environment = own_environment()
    settings = core_settings(environment)
    if settings.is_production:
        return environment
    home = Home(settings.home)
    kept = {"ENCRYPTION_KEYS": keys} if (keys := home.known_keys()) else {}
    return {**kept, **home.told(), **environment}


def core_settings(environment: Mapping[str, str]) -> CoreSettings:
    """Read the house's settings; raises Failure when they are wrong."""
    loaded = load(CoreSettings, environment)
    if loaded.value is None:
        problems = "\n".join(f"  {problem}" for problem in loaded.problems)
        raise Failure(
            f"The configuration is wrong:\n{problems}\n`interalpha check` shows all of it.", Exit.NOT_CONFIGURED
        )
    return loaded.value


def port_from(environment: Mapping[str, str], option: int | None) -> int:
    """Choose the port: the option, PORT, or the usual one; raises Failure when PORT is none."""
    if option is not None:
        return option
    text = environment.get("PORT", str(DEFAULT_PORT))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Failure("PORT is no port: give a number from 1 to 65535, or unset it.", Exit.USAGE)
    return int(text)


def program() -> str:
    """Return what to type to run this program from here."""
    path = Path(sys.executable).with_name("interalpha")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
