"""Twilio's errors: their numbers, words and HTTP statuses. https://www.twilio.com/docs/api/errors"""

from dataclasses import dataclass

from integrations.simulating.company import Json

_WORDS: dict[int, tuple[int, str]] = {
    20001: (400, "Invalid {value} value."),
    20003: (401, "Authenticate"),
    20007: (400, "Page size must be between 1 and 1000"),
    20404: (404, "The requested resource {value} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    20501: (501, "The simulator does not know {value}; nothing was sent"),
    20503: (503, "Service Unavailable"),
    21211: (400, "Invalid 'To' Phone Number: {value}"),
    21212: (400, "Invalid From Number (caller ID): {value}"),
    21266: (400, "'To' and 'From' number cannot be the same: {value}"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {value}"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (
        400,
        "The From phone number {value} is not an SMS-capable number or short code of your account.",
    ),
    21608: (400, "The number {value} is unverified. Trial accounts cannot send messages to unverified numbers"),
    21609: (400, "The 'StatusCallback' URL {value} is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (400, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "Message cannot be sent with the current combination of 'To' ({value}) and 'From' parameters"),
    21614: (400, "'To' number is not a valid mobile number: {value}"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21701: (400, "The Messaging Service does not exist"),
    21730: (503, "Service is under maintenance"),
}


@dataclass(frozen=True, slots=True)
class TwilioError:
    """One refusal."""

    code: int
    value: str = ""
    status: int | None = None
    text: str | None = None

    @property
    def http_status(self) -> int:
        return self.status or _WORDS.get(self.code, (400, ""))[0]

    def shown(self) -> Json:
        """The error as Twilio words it."""
        message = self.text or _WORDS.get(self.code, (400, f"Error {self.code}"))[1].format(value=self.value)
        return {
            "code": self.code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.http_status,
        }
