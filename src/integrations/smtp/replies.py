"""A relay's reply as it may be kept in plain: its codes, and of its text the words that all relays say.

A reply may quote anything: the address, the subject, a sentence of the mail, what we signed in with. So it is not
searched for what must not be kept; it is searched for what may.
"""

import re

LONGEST = 500
# At the beginning and nowhere else: 5.1.1 may also be part of an address in the text.
ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")
_WORD = re.compile("[A-Za-z]+")
_SAID_BY_RELAYS = frozenset(
    """
    a accept accepted access account again allowed and as at authenticated authentication available bad be blacklist
    blacklisted blocked busy cannot certificate closed closing come command complete completed connection connections
    content credentials data delivered delivery denied detected dkim disabled dmarc dns does domain down due encryption
    end error errors exceeded exceeds exist expired failed failure fixed for found from full go greylist greylisted
    greylisting has have header headers host id in inactive input internal invalid is it large later limit line list
    listed load local looks mail mailbox mailboxes maximum maintenance memory message messages mx no not now of ok on or
    out over overloaded password permitted please policy poor protocol queue queued quota rate recipient recipients
    refused reject rejected relay relaying reputation required resources retry security seen sender sending sent
    sequence server service shutdown shutting size slow smtp spam space spf starttls status storage such suspended
    syntax system taken temporarily temporary than the there this timeout tls to too transaction transfer try
    unauthenticated unavailable unexpected unknown unrecognized user users valid verification verify virus was with
    wrong you your
    """.split()  # noqa: SIM905
)


def in_plain(code: int, text: str) -> str:
    """The reply with … for every word that not all relays say; the library's -1 is a reply nobody could read."""
    if code < 0:
        return f"no code, {len(text)} characters"
    enhanced = match[0] if (match := ENHANCED.match(text)) else ""
    told = [word if _may_be_told(word) else "…" for word in text[len(enhanced) :].split()]
    shown = [word for word, before in zip(told, ["", *told], strict=False) if (word, before) != ("…", "…")]
    return " ".join(filter(None, [str(code), enhanced, *shown]))[:LONGEST]


def _may_be_told(word: str) -> bool:
    bare = word.strip(".,:;!?()-")
    return _WORD.fullmatch(bare) is not None and bare.lower() in _SAID_BY_RELAYS
