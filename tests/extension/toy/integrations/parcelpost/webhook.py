"""The carrier's webhooks: JSON, signed with HMAC-SHA256 of the body."""

import hashlib
import hmac
import json
from collections.abc import Sequence
from uuid import UUID

from core.ports.parcels import ParcelMoved
from integrations.parcelpost.settings import Settings

from core.errors import InvalidSignature
from core.ports import ProviderEvent, RawWebhook
from integrations.http_client import equal_in_constant_time


class ParcelPostWebhooks:
    """Verifies and reads the carrier's webhooks."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.webhook_secret.get_secret_value()

    def verify(self, webhook: RawWebhook) -> None:
        expected = hmac.new(self._secret.encode(), webhook.body, hashlib.sha256).hexdigest()
        if not equal_in_constant_time(webhook.headers.get("x-parcelpost-signature", ""), expected):
            raise InvalidSignature("the signature does not match")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        data = json.loads(webhook.body)
        tenant, _, parcel = data.get("reference", "").partition(".")
        return [
            ParcelMoved(
                data["id"],
                data["status"].lower(),
                webhook.body.decode(),
                status=data["status"],
                tenant_id=UUID(tenant) if tenant else None,
                parcel_id=UUID(parcel) if parcel else None,
                depot=data.get("depot"),
            )
        ]
