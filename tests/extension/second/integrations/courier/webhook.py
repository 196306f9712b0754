"""Reports in JSON, with the token in a header."""

import json
from collections.abc import Sequence

from integrations.courier.settings import Settings

from core.errors import InvalidSignature
from core.ports import ProviderEvent, RawWebhook, ReportedStatus, StatusReport
from integrations.http_client import equal_in_constant_time


class CourierWebhooks:
    """Verifies and reads its reports."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.token.get_secret_value()

    def verify(self, webhook: RawWebhook) -> None:
        if not equal_in_constant_time(webhook.headers.get("x-courier-token", ""), self._token):
            raise InvalidSignature("the token does not match")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        data = json.loads(webhook.body)
        status = ReportedStatus(data["status"])
        key = f"{data['id']}:{status}"
        return [StatusReport(key, status.lower(), webhook.body.decode(), status=status, provider_message_id=data["id"])]
