"""Replies of the simulated mail server. https://www.rfc-editor.org/rfc/rfc5321#section-4.2, codes x.y.z of RFC 3463"""

from dataclasses import dataclass

_FAULT_WORDS = {
    "421": "4.3.2 Service shutting down",
    "450": "4.2.1 Mailbox busy, try again later",
    "451": "4.3.0 Local error, try again later",
    "452": "4.2.2 Mailbox full",
    "454": "4.7.0 Temporary authentication failure",
    "535": "5.7.8 Authentication credentials invalid",
    "550": "5.1.1 User unknown",
    "552": "5.3.4 Message too big",
    "554": "5.7.1 Refused by policy",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of one or more lines; `ends` closes the connection after it."""

    code: int
    lines: tuple[str, ...]
    ends: bool = False

    @property
    def is_refusal(self) -> bool:
        return self.code >= 400

    def __bytes__(self) -> bytes:
        *first, last = self.lines
        return "".join([f"{self.code}-{line}\r\n" for line in first] + [f"{self.code} {last}\r\n"]).encode()


def reply(code: int, *lines: str, ends: bool = False) -> Reply:
    """A reply in few words."""
    return Reply(code, lines, ends)


def fault_reply(code: str, text: str | None) -> Reply:
    """The reply an armed fault asks for; 421 closes the connection, as it says."""
    return reply(int(code), text or _FAULT_WORDS.get(code, f"{code[0]}.0.0 Simulated fault"), ends=code == "421")


OK = reply(250, "2.0.0 Ok")
BAD_SEQUENCE = reply(503, "5.5.1 Bad sequence of commands")
BAD_SYNTAX = reply(501, "5.5.4 Syntax error in parameters or arguments")
TOO_BIG = reply(552, "5.3.4 Message size exceeds fixed limit")
