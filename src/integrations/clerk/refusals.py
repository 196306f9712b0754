"""What is said to whoever sends a token that is not believed: enough to mend an honest mistake, never the token."""

from collections.abc import Mapping

from core.ports import InvalidToken, TokenFault
from core.words import Sentence, say

# One sentence for all of these: whoever tries keys learns nothing of how far a token came.
_NOT_OURS = say("SESSION_NOT_OURS", "The session token is not a session of this server's Clerk instance.")

_WORDS: Mapping[TokenFault, Sentence] = {
    TokenFault.TOO_LARGE: say(
        "SESSION_TOO_LARGE", "The session token is longer than any session's: keep custom claims short."
    ),
    TokenFault.MALFORMED: say("SESSION_MALFORMED", "This is neither an API key nor a session token that can be read."),
    TokenFault.ALGORITHM: say("SESSION_ALGORITHM", "The session token is not signed with RS256."),
    TokenFault.HEADER: _NOT_OURS,
    TokenFault.NOT_A_SESSION: say(
        "SESSION_OF_ANOTHER_KIND",
        "The session token is not a session's: templates, machines and OAuth applications are not accepted.",
    ),
    TokenFault.UNKNOWN_KEY: _NOT_OURS,
    TokenFault.SIGNATURE: _NOT_OURS,
    TokenFault.MISSING_CLAIM: say("SESSION_CLAIM_MISSING", "The session token lacks a claim that every session has."),
    TokenFault.BAD_CLAIM: say(
        "SESSION_CLAIM_MALFORMED", "The session token holds a claim that no session has in this form."
    ),
    TokenFault.VERSION: say(
        "SESSION_VERSION_OLD",
        "The session token is of an old version: choose version 2 in Clerk's dashboard, under Updates.",
    ),
    TokenFault.ISSUER: _NOT_OURS,
    TokenFault.PARTY: say(
        "SESSION_PARTY_UNKNOWN",
        "The session token was fetched by a page that is not among CLERK_AUTHORIZED_PARTIES.",
    ),
    TokenFault.EXPIRED: say("SESSION_EXPIRED", "The session token has expired: fetch a fresh one with getToken()."),
    TokenFault.NOT_YET: say("SESSION_NOT_YET_VALID", "The session token is not valid yet: compare the clocks."),
    TokenFault.TOO_LONG: say(
        "SESSION_LASTS_TOO_LONG",
        "The session token is valid for longer than CLERK_TOKEN_LIFETIME allows. Get a standard one with getToken().",
    ),
    TokenFault.PENDING: say(
        "SESSION_PENDING", "The session token belongs to somebody who has not finished signing in."
    ),
    TokenFault.NO_ORGANIZATION: say(
        "SESSION_LACKS_ORGANIZATION",
        "The session token names no organisation: choose one before you call, as CLERK_PERSONAL_TENANT asks.",
    ),
}


def refusal(fault: TokenFault) -> InvalidToken:
    """Make the error for a fault."""
    return InvalidToken(_WORDS[fault], reason=fault)
