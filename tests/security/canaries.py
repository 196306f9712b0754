"""Secret values made for this run, one for each setting that is declared as secret, and a search for them."""

import base64
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from core.settings import CoreSettings, Variable, describe
from integrations.registry import all_integrations
from tests.unit.settings_samples import in_base64, private_pem, service_account

SECRET_SETTINGS = [
    variable
    for model in (CoreSettings, *(card.settings for card in all_integrations().values()))
    for variable in describe(model)
    if variable.secret
]
# Either this, or the three of OAuth: a second environment has it.
SERVICE_ACCOUNT = "GOOGLE_SERVICE_ACCOUNT_JSON"
OAUTH_SETTINGS = ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "GOOGLE_REFRESH_TOKEN")


def canary_value(variable: Variable) -> str:
    """A value the setting accepts, never seen before; an unknown form fails the test below."""
    if variable.name == "ENCRYPTION_KEYS":
        return f"k9:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    if variable.name == SERVICE_ACCOUNT:
        return service_account()
    word = secrets.token_hex(16)
    for form in (word, f"sk_test_{word}", f"whsec_{in_base64(word)}", f"ak_{word}"):
        if variable.matches is None or re.fullmatch(variable.matches, form):
            return form
    raise AssertionError(f"{variable.name}: say here what one looks like, so that it is looked for")


@dataclass(frozen=True)
class Canary:
    """What must be found nowhere, and whose it is."""

    name: str
    text: str

    @property
    def spellings(self) -> set[str]:
        """The same in other encodings."""
        raw = self.text.encode()
        return {
            self.text,
            quote(self.text, safe=""),
            repr(self.text)[1:-1],
            raw.hex(),
            base64.b64encode(raw).decode().rstrip("="),
            base64.urlsafe_b64encode(raw).decode().rstrip("="),
        }


def canaries_of(environment: Mapping[str, str]) -> Iterator[Canary]:
    """The parts of an environment's secrets that are secret themselves."""
    for variable in SECRET_SETTINGS:
        text = environment.get(variable.name)
        if text is None:
            continue
        if variable.name == SERVICE_ACCOUNT:
            yield Canary(variable.name, private_pem().splitlines()[5])
        elif "://" in text:
            # Of a store's address the password; the rest may be shown.
            password = urlsplit(text).password
            assert password, variable.name
            yield Canary(variable.name, password)
        else:
            for part in text.split(","):
                yield Canary(variable.name, part.partition(":")[2] if variable.name == "ENCRYPTION_KEYS" else part)


def canaries_found(outputs: Mapping[str, str], marks: list[Canary]) -> list[tuple[str, str, str]]:
    """Where a secret shows: its name, the output, and the words before it."""
    return [
        (mark.name, name, text[max(0, text.index(spelling) - 120) : text.index(spelling)])
        for mark in marks
        for spelling in mark.spellings
        for name, text in outputs.items()
        if spelling in text
    ]
