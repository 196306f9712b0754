"""What is said to whoever sends a token that is not believed: enough to mend an honest mistake, never the token."""

from collections.abc import Mapping

from core.ports import InvalidToken, TokenFault

_FRESH = "fetch a fresh one with getToken()"
_NOT_OURS = "is not a session of this server's Clerk instance"

_WORDS: Mapping[TokenFault, str] = {
    TokenFault.TOO_LARGE: "is longer than any session's: keep custom claims short",
    TokenFault.MALFORMED: "cannot be read: send it as getToken() gives it",
    TokenFault.ALGORITHM: "is not signed with RS256",
    TokenFault.HEADER: f"{_NOT_OURS}",
    TokenFault.NOT_A_SESSION: "is not a session's: templates, machines and OAuth applications are not accepted",
    TokenFault.UNKNOWN_KEY: f"{_NOT_OURS}",
    TokenFault.SIGNATURE: f"{_NOT_OURS}",
    TokenFault.MISSING_CLAIM: "lacks a claim that every session has",
    TokenFault.BAD_CLAIM: "holds a claim that no session has in this form",
    TokenFault.VERSION: "is of an old version: choose version 2 in Clerk's dashboard, under Updates",
    TokenFault.ISSUER: f"{_NOT_OURS}",
    TokenFault.PARTY: "was fetched by a page that is not among CLERK_AUTHORIZED_PARTIES",
    TokenFault.EXPIRED: f"has expired: {_FRESH}",
    TokenFault.NOT_YET: "is not valid yet: compare the clocks",
    TokenFault.PENDING: "belongs to somebody who has not finished signing in",
    TokenFault.NO_ORGANIZATION: "names no organisation: choose one before you call, as CLERK_PERSONAL_TENANT asks",
}


def refusal(fault: TokenFault) -> InvalidToken:
    """Make the error for a fault."""
    return InvalidToken(f"The session token {_WORDS[fault]}.", reason=fault)
