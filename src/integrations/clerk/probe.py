"""Checks whether Clerk accepts the secret key, and whether the configured public key is still one of the instance's.

https://clerk.com/docs/reference/backend-api/tag/JWKS
"""

from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from core.errors import OutcomeUnknown, ProviderError, ProviderMisconfigured, ProviderUnavailable
from core.ports import Finding, Severity
from integrations.clerk.jwks import Keys, parse_keys
from integrations.clerk.settings import Settings
from integrations.http_client import HttpClient, HttpResponse

API_VERSION = "2026-05-12"


class ClerkProbe:
    """Reads the instance's keys, with the secret key and without; changes nothing."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http

    async def check(self) -> Sequence[Finding]:
        try:
            ours = await self._keys(f"{self._settings.api_base}/v1/jwks", self._settings.secret_key.get_secret_value())
            public = await self._keys(self._settings.jwks_url)
        except ProviderError as error:
            return [_refused(error)]
        return [*_instance_mismatch(ours, public), *_key_rotated(ours, self._settings.jwt_key)]

    async def _keys(self, url: str, secret: str | None = None) -> Keys:
        headers = {"authorization": f"Bearer {secret}", "clerk-api-version": API_VERSION} if secret else {}
        answer = await self._http.counted_call("probe", "GET", url, headers=headers)
        keys = parse_keys(answer.body) if answer.status == 200 else {}
        if not keys:
            raise _error(answer)
        return keys


def _error(answer: HttpResponse) -> ProviderError:
    code = str(answer.status)
    if answer.status in (401, 403):
        return ProviderMisconfigured(f"Clerk refuses us ({code}).", provider="clerk", provider_code=code)
    if answer.status == 429:
        words = "Clerk asks us to come again later (429)."
        return ProviderUnavailable(words, provider="clerk", provider_code=code, retry_after=answer.retry_after)
    return OutcomeUnknown(f"Clerk's answer holds no keys ({code}).", provider="clerk", provider_code=code)


def _refused(error: ProviderError) -> Finding:
    if isinstance(error, ProviderMisconfigured):
        fix = "Compare CLERK_SECRET_KEY with Configure > API keys."
        return Finding("CLERK_REFUSES_US", Severity.CRITICAL, error.message, fix)
    fix = "See status.clerk.com, and CLERK_JWKS_URL if it is set."
    return Finding("CLERK_UNREACHABLE", Severity.CRITICAL, error.message, fix)


def _instance_mismatch(ours: Keys, public: Keys) -> Iterator[Finding]:
    if not ours.keys() & public.keys():
        detail = "The secret key and the publishable key belong to different instances: they have no key in common."
        yield Finding("CLERK_KEYS_DIFFER", Severity.CRITICAL, detail, "Copy both anew, under Configure > API keys.")


def _key_rotated(ours: Keys, pem: str | None) -> Iterator[Finding]:
    if pem is None:
        return
    own = load_pem_public_key(pem.encode())
    if not any(isinstance(own, RSAPublicKey) and own.public_numbers() == key.public_numbers() for key in ours.values()):
        detail = "CLERK_JWT_KEY is none of the instance's keys: every session is refused."
        fix = "Copy it anew, under Configure > API keys > JWKS public key, or leave it out."
        yield Finding("CLERK_KEY_ROTATED", Severity.CRITICAL, detail, fix)
