"""What an installation is told from outside: read once, checked without a network, every problem named at once."""

from core.settings.environment import read_environment
from core.settings.groups import IntegrationSettings, SettingsGroup
from core.settings.house import AppEnv, CoreSettings, LogLevel
from core.settings.keys import EncryptionKey
from core.settings.loading import Loaded, State, load
from core.settings.manifest import Manifest, TrustMode
from core.settings.problems import Problem, WrongValue
from core.settings.variables import Variable, describe, setting

__all__ = [
    "AppEnv",
    "CoreSettings",
    "EncryptionKey",
    "IntegrationSettings",
    "Loaded",
    "LogLevel",
    "Manifest",
    "Problem",
    "SettingsGroup",
    "State",
    "TrustMode",
    "Variable",
    "WrongValue",
    "describe",
    "load",
    "read_environment",
    "setting",
]
