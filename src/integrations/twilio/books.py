"""Reading Twilio's list of messages. https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from core.errors import OutcomeUnknown, ProviderUnavailable
from integrations.kit import Answer, Http
from integrations.twilio.adapter import authorization
from integrations.twilio.errors import PROVIDER
from integrations.twilio.reading import SID, Json, in_plain, read, refusal
from integrations.twilio.settings import Settings

PAGE_SIZE = 250
"""Messages a page: so many of the longest texts are still less than we read of an answer."""


class TooMany(ProviderUnavailable):
    """The list goes on after as many pages as we read."""


class Books:
    """What Twilio has written down of our account's messages."""

    def __init__(self, settings: Settings, http: Http) -> None:
        self._http = http
        self._base = settings.api_base.rstrip("/")
        self._path = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"
        self._headers = {"authorization": authorization(settings), "accept": "application/json"}
        self._service = settings.messaging_service_sid
        self._number = None if self._service else settings.phone_number

    async def message(self, sid: str) -> Json | None:
        """One message; None where Twilio has none of this id."""
        answer = await self._ask(f"{self._path}/{sid}.json")
        data = read(answer)
        if answer.status == 404 and str(data.get("code")) == "20404":
            return None
        if answer.status != 200 or data.get("sid") != sid:
            raise refusal(answer)
        return data

    async def pages(self, filters: Mapping[str, str], *, most: int) -> AsyncIterator[list[Json]]:
        """The list page by page, to its end; raises TooMany when there is more after `most` pages."""
        sender = {"From": self._number} if self._number else {}
        query = {**filters, **sender, "PageSize": str(PAGE_SIZE)}
        following: str | None = None
        for _ in range(most):
            answer = await (self._ask(following) if following else self._ask(f"{self._path}.json", query))
            page, following = self._read(answer)
            yield page
            if following is None:
                return
        raise TooMany("Twilio has more messages than we look through.", provider=PROVIDER)

    def is_ours(self, message: Json) -> bool:
        """Whether we sent it: the account may have other senders, and the list holds what people wrote, too."""
        if not str(message.get("direction")).startswith("outbound"):
            return False
        if self._service:
            return message.get("messaging_service_sid") == self._service
        return message.get("from") == self._number

    async def _ask(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        return await self._http.call("GET", f"{self._base}{path}", headers=self._headers, query=query)

    def _read(self, answer: Answer) -> tuple[list[Json], str | None]:
        """A page, and the path of the one after it; a page that cannot be read is never an empty one."""
        data = read(answer)
        messages, following = data.get("messages"), data.get("next_page_uri")
        if answer.status != 200 or not isinstance(messages, list) or not all(map(_is_message, messages)):
            raise refusal(answer)
        # We sign in wherever it leads: nowhere but to this list.
        if following is not None and not str(following).startswith(f"{self._path}.json?"):
            raise OutcomeUnknown("Twilio's list leads elsewhere.", provider=PROVIDER, answer=in_plain(answer))
        return messages, following


def moment(message: Json, name: str) -> datetime | None:
    """A moment, which Twilio writes as mail does; None where there is none yet."""
    try:
        found = parsedate_to_datetime(str(message.get(name)))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _is_message(found: object) -> bool:
    return isinstance(found, dict) and SID.fullmatch(str(found.get("sid"))) is not None and bool(found.get("status"))
