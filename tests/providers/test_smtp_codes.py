"""The meaning of an SMTP refusal: every registered code at every stage, and the text where codes are ambiguous."""

import re
import time

import pytest

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.providers.circuit import Verdict, judge_call
from integrations.smtp.codes import BASIC, GOOGLE, MICROSOFT_BY_CODE, REGISTERED, Meaning, Stage
from integrations.smtp.errors import meaning_of, provider_error

CALLER, RECIPIENT, OPERATOR, PROVIDER = FailureParty
MAIL, RCPT, DATA, TEXT = Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.TEXT

# https://www.iana.org/assignments/smtp-enhanced-status-codes/smtp-enhanced-status-codes.xhtml: the subject, and the
# details registered under it.
REGISTRY = {0: range(1), 1: range(11), 2: range(5), 3: range(7), 4: range(8), 5: range(7), 6: range(11), 7: range(31)}
# https://www.rfc-editor.org/rfc/rfc5321#section-4.3.2 and RFC 3207, 4954, 5248, 7504: the refusals of each command.
REPLIES = {
    MAIL: [421, 450, 451, 452, 455, 500, 501, 502, 503, 504, 521, 530, 550, 552, 553, 554, 555],
    RCPT: [421, 450, 451, 452, 455, 500, 501, 502, 503, 504, 530, 550, 551, 552, 553, 554, 555, 556],
    DATA: [421, 450, 451, 452, 500, 501, 502, 503, 504, 530, 550, 552, 554],
    TEXT: [421, 450, 451, 452, 500, 501, 503, 530, 550, 552, 554],
}
SIGNING_IN = [422, 432, 454, 500, 501, 503, 504, 523, 524, 525, 530, 534, 535, 538]
# https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online
MICROSOFT = """
    4.3.2 4.4.7 4.4.316 4.5.3 4.7.26 4.7.321 4.7.322 4.7.323 4.7.324 4.7.325 4.7.500 4.7.699 4.7.850 4.7.899
    5.0.350 5.1.0 5.1.1 5.1.8 5.1.10 5.1.20 5.1.90 5.2.2 5.2.121 5.2.122 5.2.251 5.2.252 5.2.253 5.2.254 5.2.255
    5.3.190 5.4.1 5.4.6 5.4.14 5.4.11 5.4.62 5.4.300 5.4.310 5.4.312 5.6.11 5.7.1 5.7.12 5.7.23 5.7.25 5.7.54
    5.7.57 5.7.60 5.7.64 5.7.124 5.7.133 5.7.134 5.7.135 5.7.136 5.7.139 5.7.144 5.7.232 5.7.233 5.7.234 5.7.320
    5.7.321 5.7.322 5.7.323 5.7.324 5.7.325 5.7.367 5.7.501 5.7.502 5.7.503 5.7.504 5.7.505 5.7.506 5.7.507
    5.7.508 5.7.509 5.7.510 5.7.511 5.7.512 5.7.513 5.7.515 5.7.520 5.7.606 5.7.649 5.7.700 5.7.703 5.7.705
    5.7.708 5.7.749 5.7.750
""".split()  # noqa: SIM905
# https://support.google.com/a/answer/3726730
GOOGLES = """
    4.2.1 4.2.2 4.3.0 4.4.2 4.4.5 4.5.0 4.5.3 4.7.0 4.7.23 4.7.24 4.7.25 4.7.27 4.7.28 4.7.29 4.7.30 4.7.31
    4.7.32 4.7.40 5.1.1 5.1.2 5.1.3 5.2.1 5.2.2 5.2.3 5.4.5 5.4.6 5.5.1 5.5.2 5.5.4 5.6.0 5.7.0 5.7.1 5.7.4
    5.7.8 5.7.9 5.7.14 5.7.25 5.7.26 5.7.27 5.7.28 5.7.29 5.7.30 5.7.31 5.7.32 5.7.40
""".split()  # noqa: SIM905


def test_the_tables_hold_every_registered_code_and_no_other() -> None:
    assert set(REGISTERED) == {f"{subject}.{detail}" for subject, details in REGISTRY.items() for detail in details}


def test_the_tables_hold_what_microsoft_and_google_say_of_their_own() -> None:
    held = {*REGISTERED, *MICROSOFT_BY_CODE, *GOOGLE}
    assert [code for code in (*MICROSOFT, *GOOGLES) if not {code, code[2:]} & held] == []
    for stage in (MAIL, RCPT, TEXT):
        for code in (*MICROSOFT, *GOOGLES):
            assert meaning_of(stage, 450 if code[0] == "4" else 550, code, "") is not None, (stage, code)


def test_every_reply_of_every_command_has_a_meaning_without_an_enhanced_code() -> None:
    for stage, replies in REPLIES.items():
        for code in replies:
            assert meaning_of(stage, code, None, "") is not None, (stage, code)
    assert [code for code in SIGNING_IN if code not in BASIC[MAIL]] == []


def test_at_mail_every_code_is_about_the_sender_even_if_it_mentions_an_address() -> None:
    # The size, and the need of SMTPUTF8, are announced at MAIL already.
    own = {"2.3", "3.4", "7.16", "6.7", "6.8", "6.9", "6.10"}
    for detail in REGISTERED:
        error = provider_error(MAIL, 550, f"5.{detail} Whatever it says")
        if detail in own:
            assert isinstance(error, ProviderRejected), detail
            continue
        assert isinstance(error, ProviderMisconfigured), detail
        assert (error.party in (OPERATOR, PROVIDER), error.scope) == (True, FailureScope.PROVIDER), detail


def test_at_rcpt_nothing_can_be_the_content_s_fault_but_its_size() -> None:
    for detail in ("7.0", "7.1"):
        error = provider_error(RCPT, 550, f"5.{detail} Refused")
        assert (error.reason, error.party) == (FailureReason.BLOCKED, RECIPIENT)
        error = provider_error(TEXT, 550, f"5.{detail} Refused")
        assert (error.reason, error.party) == (FailureReason.CONTENT_REJECTED, CALLER)


def test_a_refusal_for_the_moment_is_tried_again_and_never_says_that_it_is_final() -> None:
    for stage in (MAIL, RCPT, DATA, TEXT):
        for detail in ("", *(f"4.{detail}" for detail in REGISTERED)):
            for code in (421, 450, 451, 452):
                error = provider_error(stage, code, f"{detail} Not now".strip())
                assert isinstance(error, ProviderUnavailable), (stage, code, detail)
                assert "later" in error.message
                assert error.reason not in (FailureReason.INVALID_RECIPIENT, FailureReason.BLOCKED)


def test_what_a_relay_says_of_one_recipient_for_the_moment_never_counts_against_it() -> None:
    for detail in ("", *(f"4.{detail}" for detail in REGISTERED)):
        for code in (450, 451, 452, 454, 455, 471):
            for words in ("Greylisted, try again", "Mailbox full", "Temporary local problem", "Rate limit exceeded"):
                error = provider_error(RCPT, code, f"{detail} {words}".strip())
                assert judge_call(error) is Verdict.ANSWERED, (code, detail, words)
    for reply in (
        "452 4.2.2 Mailbox full",
        "451 4.7.1 Greylisted",
        "450 4.2.0 Not now",
        "450 4.1.1 Unverified address",
    ):
        for stage in (DATA, TEXT):
            assert judge_call(refused(stage, reply)) is Verdict.ANSWERED, (stage, reply)


def test_what_is_about_the_session_counts_and_no_recipient_is_asked_for() -> None:
    for reply in ("421 4.3.2 Shutting down", "450 4.3.2 Not now", "452 4.3.1 Storage full", "451 Local error"):
        error = refused(MAIL, reply)
        assert (judge_call(error), error.scope) == (Verdict.FAILED, FailureScope.PROVIDER)
    for stage in (RCPT, DATA, TEXT):
        error = refused(stage, "421 4.3.2 Shutting down")
        assert (judge_call(error), error.scope) == (Verdict.FAILED, FailureScope.UNCLEAR)
    assert judge_call(refused(TEXT, "451 4.3.0 Local error")) is Verdict.FAILED


def refused(stage: Stage, reply: str) -> ProviderError:
    code, _, text = reply.partition(" ")
    return provider_error(stage, int(code), text)


REFUSALS = [
    (MAIL, "530 5.7.57 Client not authenticated to send mail", "operator", OPERATOR, "", "SMTP_USERNAME.*SMTP_TLS"),
    (MAIL, "530 5.7.0 Must issue a STARTTLS command first", "operator", OPERATOR, "", "SMTP_TLS"),
    (MAIL, "530 Authentication required", "operator", OPERATOR, "", "SMTP_USERNAME.*SMTP_TLS"),
    (RCPT, "530 5.7.1 Authentication required", "operator", OPERATOR, "", "SMTP_USERNAME"),
    (MAIL, "503 5.5.1 Error: authenticate first", "operator", OPERATOR, "", "SMTP_USERNAME"),
    (MAIL, "535 5.7.8 Bad credentials", "operator", OPERATOR, "", "SMTP_PASSWORD"),
    (MAIL, "538 5.7.11 Encryption required", "operator", OPERATOR, "", "SMTP_TLS"),
    (MAIL, "550 5.7.60 Client has no permissions to send as this sender", "operator", OPERATOR, "", "SMTP_FROM"),
    (MAIL, "550 5.1.1 Unknown sender", "operator", OPERATOR, "", "SMTP_FROM"),
    (MAIL, "550 5.2.252 Sender throttled: continuous send as denied errors", "operator", OPERATOR, "", "SMTP_FROM"),
    (MAIL, "551 Not yours", "operator", OPERATOR, "", "SMTP_FROM"),
    (MAIL, "552 5.2.2 Over quota", "operator", OPERATOR, "", "account"),
    (MAIL, "552 5.3.4 Message size exceeds fixed limit", "rejected", CALLER, "CONTENT_REJECTED", "too big"),
    (MAIL, "553 5.1.8 Domain of sender address does not resolve", "operator", OPERATOR, "", "DNS"),
    (MAIL, "554 5.7.1 Client host rejected: Access denied", "operator", OPERATOR, "", "this machine"),
    (MAIL, "550 5.4.5 Daily user sending limit exceeded", "operator", PROVIDER, "RATE_LIMITED", "limits"),
    (MAIL, "555 Syntax error", "operator", OPERATOR, "", "SMTP_HOST"),
    (MAIL, "559 5.9.9 A code of the future", "operator", OPERATOR, "", "559"),
    (
        RCPT,
        "553 5.7.1 <h@example.com>: Sender address rejected: not owned by user mailer",
        "operator",
        OPERATOR,
        "",
        "SMTP_FROM",
    ),
    (RCPT, "554 5.7.1 <a@example.org>: Relay access denied", "operator", OPERATOR, "", "passes nothing on"),
    (RCPT, "454 4.7.1 <a@example.org>: Relay access denied", "later", OPERATOR, "", "passes nothing on"),
    (RCPT, "550 5.7.64 TenantAttribution; Relay Access Denied", "operator", OPERATOR, "", "passes nothing on"),
    (RCPT, "550 relay not permitted", "operator", OPERATOR, "", "passes nothing on"),
    (RCPT, "550 5.7.1 Unable to relay", "operator", OPERATOR, "", "passes nothing on"),
    (RCPT, "550 5.7.26 This mail is unauthenticated", "operator", OPERATOR, "", "SPF, DKIM and DMARC"),
    (TEXT, "550 5.7.26 This mail is unauthenticated", "operator", OPERATOR, "", "SPF, DKIM and DMARC"),
    (
        TEXT,
        "550 5.7.1 Unauthenticated email is not accepted due to domain's DMARC policy",
        "operator",
        OPERATOR,
        "",
        "DMARC",
    ),
    (TEXT, "550 5.7.509 Sending domain does not pass DMARC", "operator", OPERATOR, "", "DMARC"),
    (
        TEXT,
        "554 5.2.252 SendAsDenied; a@example.com not allowed to send as b@example.com",
        "operator",
        OPERATOR,
        "",
        "SMTP_FROM",
    ),
    (
        RCPT,
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.example",
        "operator",
        OPERATOR,
        "",
        "this machine",
    ),
    (RCPT, "550 5.7.606 Access denied, banned sending IP", "operator", OPERATOR, "", "blocks"),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied", "rejected", RECIPIENT, "INVALID_RECIPIENT", ""),
    (RCPT, "550 5.4.1 All recipient addresses rejected", "rejected", RECIPIENT, "INVALID_RECIPIENT", ""),
    (RCPT, "450 4.4.1 No answer from host", "later", RECIPIENT, "UNREACHABLE", ""),
    (
        RCPT,
        "552 Requested mail action aborted: exceeded storage allocation",
        "rejected",
        RECIPIENT,
        "UNREACHABLE",
        "full",
    ),
    (RCPT, "552", "rejected", RECIPIENT, "UNREACHABLE", "full"),
    (
        TEXT,
        "552 Requested mail action aborted: exceeded storage allocation",
        "rejected",
        RECIPIENT,
        "UNREACHABLE",
        "full",
    ),
    (TEXT, "552 Message size exceeds maximum", "rejected", CALLER, "CONTENT_REJECTED", "too big"),
    (TEXT, "552 5.2.3 Message exceeds size limits", "rejected", CALLER, "CONTENT_REJECTED", "longer"),
    (RCPT, "452 4.2.2 Mailbox full", "later", RECIPIENT, "UNREACHABLE", "full"),
    (RCPT, "452", "later", RECIPIENT, "UNREACHABLE", "full"),
    (RCPT, "450 4.2.1 The user is receiving mail too quickly", "later", RECIPIENT, "RATE_LIMITED", ""),
    (TEXT, "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", "later", RECIPIENT, "RATE_LIMITED", ""),
    (RCPT, "550 5.1.1 <spam-dkim@example.org>: user unknown", "rejected", RECIPIENT, "INVALID_RECIPIENT", ""),
    (
        RCPT,
        "550 5.0.0 <relay-access-denied@example.org>... User unknown",
        "rejected",
        RECIPIENT,
        "INVALID_RECIPIENT",
        "",
    ),
    (RCPT, "550 5.1.99 Nobody knows this detail", "rejected", RECIPIENT, "INVALID_RECIPIENT", ""),
    (RCPT, "550 5.7.17 Mailbox owner has changed", "rejected", RECIPIENT, "INVALID_RECIPIENT", "another person"),
    (RCPT, "550 5.1.8 Sender's domain not found", "operator", OPERATOR, "", "SMTP_FROM"),
    (RCPT, "559 5.9.9 A code of the future", "rejected", PROVIDER, "OTHER", "559"),
    (TEXT, "554 5.7.1 Spam", "rejected", CALLER, "CONTENT_REJECTED", "policy"),
]


def test_each_refusal_names_the_party_that_must_act(subtests: pytest.Subtests) -> None:
    for stage, reply, kind, party, reason, advice in REFUSALS:
        with subtests.test(f"{stage}: {reply}"):
            error = refused(stage, reply)
            kinds = {"operator": ProviderMisconfigured, "rejected": ProviderRejected, "later": ProviderUnavailable}
            assert (type(error), error.party) == (kinds[kind], party)
            assert error.reason == (reason or "PROVIDER_ERROR")
            assert re.search(advice, error.message), error.message
            if advice == "SMTP_USERNAME.*SMTP_TLS":
                assert "SMTP_FROM" not in error.message


def test_a_reply_of_any_length_is_read_at_once() -> None:
    # As long as a connection takes them; the recipient's server may have written it.
    for word in ("x", "user ", "limit ", "<", "https://", "mailbox "):
        text = (word * 33_000)[:33_000]
        began = time.process_time()
        error = provider_error(RCPT, 450, text)
        assert (type(error), time.process_time() - began < 0.2) == (ProviderUnavailable, True), word


def test_a_limit_on_what_we_send_is_no_fault_of_the_relay_or_the_mailbox() -> None:
    # Postfix: smtpd_client_message_rate_limit and smtpd_client_recipient_rate_limit.
    for stage, what in ((MAIL, "much mail"), (RCPT, "many recipients")):
        error = refused(stage, f"450 4.7.1 Error: too {what} from 192.0.2.7")
        assert (error.reason, error.party) == (FailureReason.RATE_LIMITED, PROVIDER)
        assert judge_call(error) is Verdict.ANSWERED


def test_an_address_that_a_reply_quotes_decides_nothing() -> None:
    for quoted in ("<relay access denied@example.org>", "not-owned-by.spf.dmarc@example.org"):
        error = refused(RCPT, f"550 {quoted} refused")
        assert (error.party, error.reason) == (RECIPIENT, FailureReason.INVALID_RECIPIENT), quoted


def test_only_what_all_recipients_would_meet_can_open_the_circuit() -> None:
    for meaning in {*REGISTERED.values(), *MICROSOFT_BY_CODE.values(), *GOOGLE.values()}:
        assert isinstance(meaning, Meaning)
        assert meaning.scope in (None, FailureScope.MESSAGE)
    # Another mailbox provider may trust us.
    for reply in ("550 5.7.26 Unauthenticated", "550 5.7.25 No PTR", "550 5.7.606 Banned", "550 5.7.23 SPF"):
        assert judge_call(refused(RCPT, reply)) is Verdict.ANSWERED, reply
    for reply in ("554 5.7.1 Relay access denied", "553 5.7.1 Sender address rejected: not owned by user mailer"):
        error = refused(RCPT, reply)
        assert (judge_call(error), error.scope) == (Verdict.REFUSED, FailureScope.UNCLEAR), reply
