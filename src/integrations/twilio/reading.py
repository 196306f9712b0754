"""Reading Twilio's answers: their JSON, what of them may be kept, and the error a refusal stands for."""

import json
import re
from collections.abc import Mapping
from typing import Any

from core.errors import OutcomeUnknown, ProviderError
from integrations.kit import Answer
from integrations.twilio.errors import PROVIDER, error_of

Json = dict[str, Any]

SID = re.compile("(SM|MM)[0-9a-fA-F]{32}")
STATUS = re.compile("[a-z_]{1,32}")
CODE = re.compile("[1-9][0-9]{4}")
# What of an answer may be kept in plain. Of these forms there is no number, no address and no text of anybody's.
_KEPT: Mapping[str, re.Pattern[str]] = {
    "sid": SID,
    "status": re.compile("[a-z_]{1,32}|[1-5][0-9]{2}"),
    "code": CODE,
    "error_code": CODE,
    "num_segments": re.compile("[0-9]{1,2}"),
    "price": re.compile(r"-?[0-9]{1,3}\.[0-9]{1,6}"),
    "price_unit": re.compile("[A-Z]{3}"),
    "more_info": re.compile("https://www[.]twilio[.]com/docs/(api/)?errors/[1-9][0-9]{4}"),
}


def read(answer: Answer) -> Json:
    """The object in an answer; an empty one where there is none."""
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def in_plain(answer: Answer) -> str:
    """The answer as it may be kept."""
    return answer.in_plain(read(answer), _KEPT)


def refusal(answer: Answer) -> ProviderError:
    """The error an answer stands for; a success nobody can read leaves the outcome unknown."""
    if answer.status < 300:
        return OutcomeUnknown(
            "Twilio's answer cannot be read.",
            provider=PROVIDER,
            provider_code=str(answer.status),
            answer=in_plain(answer),
        )
    code = str(read(answer).get("code"))
    return error_of(
        answer.status,
        code if CODE.fullmatch(code) else None,
        retry_after=answer.retry_after,
        answer=in_plain(answer),
    )
