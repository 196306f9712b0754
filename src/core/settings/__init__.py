"""The settings of an installation: read once, checked without a network, with all problems reported at once."""

from core.settings.core_settings import AppEnv, CoreSettings, LogLevel
from core.settings.loading import IntegrationSettings, Loaded, SettingsGroup, State, load, read_environment
from core.settings.values import EncryptionKey, Manifest, TrustMode
from core.settings.variables import Problem, Variable, WrongValue, describe, setting

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
