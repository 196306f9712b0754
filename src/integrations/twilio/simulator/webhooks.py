"""The webhooks Twilio sends: their forms, and the signature over address and fields.

https://www.twilio.com/docs/usage/webhooks/webhooks-security
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1
from hmac import new as new_hmac
from secrets import token_hex
from urllib.parse import parse_qsl, urldefrag, urlencode
from uuid import uuid4

from core.segments import count_segments
from integrations.simulating.webhooks import Webhook
from integrations.twilio.simulator.state import Message

Fields = Mapping[str, str]

_MOST_RETRIES = 5
_ALL = frozenset({"ct", "rt", "4xx", "5xx"})
_FINAL = frozenset({"delivered", "undelivered"})
_COUNTRIES = {"+55": "BR", "+1": "US", "+351": "PT"}


def sign(token: str, url: str, fields: Fields) -> str:
    """The X-Twilio-Signature of a form posted to an address."""
    signed = url + "".join(key + fields[key] for key in sorted(fields))
    return b64encode(new_hmac(token.encode(), signed.encode(), sha1).digest()).decode()


def webhook(token: str, url: str, fields: Fields, *, message_id: str, to: str) -> Webhook:
    """A signed form. The fragment of the address says how often to call: it is neither signed nor sent."""
    address, fragment = urldefrag(url)
    wanted = dict(parse_qsl(fragment))
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "User-Agent": "TwilioProxy/1.1",
        "I-Twilio-Idempotency-Token": str(uuid4()),
        "X-Twilio-Signature": sign(token, address, fields),
    }
    return Webhook(
        f"webhook-{token_hex(8)}",
        address,
        headers,
        urlencode(fields),
        message_id,
        to,
        retries=min(int(wanted["rc"]), _MOST_RETRIES) if wanted.get("rc", "").isdecimal() else None,
        retried=_ALL if wanted.get("rp") == "all" else frozenset(wanted.get("rp", "ct").split(",")) & _ALL,
    )


def status_fields(message: Message) -> Fields:
    """The form of a status callback; fields without a value are absent."""
    fields = {
        "RawDlrDoneDate": _done_at(message),
        "ErrorCode": str(message.error_code) if message.error_code else None,
        "SmsSid": message.id,
        "SmsStatus": message.status,
        "MessageStatus": message.status,
        "To": message.to,
        "MessagingServiceSid": message.service,
        "MessageSid": message.id,
        "AccountSid": message.account_sid,
        "From": message.sender,
        "ApiVersion": "2010-04-01",
    }
    return {key: value for key, value in fields.items() if value is not None}


def inbound_fields(message: Message) -> Fields:
    """The form of an inbound message. What Twilio does not know of the sender is blank, and signed all the same."""
    return {
        "ToCountry": _country(message.to),
        "ToState": "",
        "SmsMessageSid": message.id,
        "NumMedia": "0",
        "ToCity": "",
        "FromZip": "",
        "SmsSid": message.id,
        "FromState": "",
        "SmsStatus": "received",
        "FromCity": "",
        "Body": message.body,
        "FromCountry": _country(message.sender),
        "To": message.to,
        "ToZip": "",
        "NumSegments": str(count_segments(message.body).segments),
        "MessageSid": message.id,
        "AccountSid": message.account_sid,
        "From": message.sender,
        "ApiVersion": "2010-04-01",
    }


def _done_at(message: Message) -> str | None:
    moment = message.updated_at or message.at
    return moment.strftime("%y%m%d%H%M") if message.status in _FINAL else None


def _country(number: str) -> str:
    return next((country for prefix, country in _COUNTRIES.items() if number.startswith(prefix)), "")
