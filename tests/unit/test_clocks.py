"""Times on a screen are in this machine's time zone, which is named once."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from api.cli import terminal
from api.cli.api_keys import standing
from api.cli.message_input import Progress
from api.cli.terminal import Failure, screen
from core.access.api_key_lookup import KeyKind
from core.access.api_keys import ApiKey
from core.ids import uuid7


@pytest.fixture
def sao_paulo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/Sao_Paulo")
        patch.setattr(terminal, "_shown", False)
        patch.setattr(terminal, "_told", False)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("sao_paulo")
def test_moments_within_the_apis_sentences_are_shown_by_the_same_clock(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "It ends at 2026-07-01T10:00:00Z, before it begins at 2026-07-01T12:30:00.500Z."
    shown = "It ends at 2026-07-01 07:00:00-03:00, before it begins at 2026-07-01 09:30:00-03:00."
    assert (terminal.in_local_time(sentence), str(Failure(sentence))) == (shown, shown)
    screen().print(sentence)
    assert capsys.readouterr().out == f"{shown}\n"
    refused = {"message": sentence, "providerCode": None, "party": "CALLER"}
    Progress(screen()).show(_message(failure=refused, status="FAILED"))
    assert "07:00:00-03:00" in capsys.readouterr().out
    assert terminal.in_local_time("no moment, 10:00") == "no moment, 10:00"


@pytest.mark.usefixtures("sao_paulo")
def test_the_zone_is_named_once_and_only_where_times_were_shown() -> None:
    told: list[str] = []
    terminal.name_zone(told.append)
    assert told == []
    terminal.clock("2026-07-01T10:00:00Z")
    terminal.name_zone(told.append)
    terminal.clock("2026-07-01T10:00:00Z")
    terminal.name_zone(told.append)
    assert told == ["Times are local: UTC-03:00."]


@pytest.mark.usefixtures("sao_paulo")
def test_a_key_says_to_the_minute_until_when_it_lets_in() -> None:
    ends = datetime(2099, 1, 31, 23, 30, tzinfo=UTC)
    assert standing(_key(expires_at=ends)) == "until 2099-01-31 20:30"
    assert standing(_key(expires_at=datetime(2020, 1, 1, 1, 5, tzinfo=UTC))) == "ended 2019-12-31 22:05"
    assert standing(_key(revoked_at=datetime(2026, 7, 1, 10, 0, tzinfo=UTC))) == "revoked 2026-07-01 07:00"
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert standing(_key(expires_at=soon)) == f"until {soon.astimezone():%Y-%m-%d %H:%M}"


def test_lengths_of_time_are_said_in_units_people_count_in() -> None:
    expected = {0.04: "0.0 s", 59.4: "59.4 s", 60: "1 min 0 s", 125: "2 min 5 s", 3_599.6: "1 h 0 min"}
    expected |= {12_000: "3 h 20 min", 86_400: "1 d 0 h", 187_200: "2 d 4 h"}
    assert {seconds: terminal.lasted(seconds) for seconds in expected} == expected


def _message(**changes: object) -> dict[str, object]:
    fields = ["sentAt", "deliveredAt", "readAt", "nextAttemptAt"]
    return {"channel": "SMS", "createdAt": "2026-07-01T10:00:00Z", "attempts": [], **dict.fromkeys(fields), **changes}


def _key(**changes: datetime) -> ApiKey:
    moments = {"expires_at": None, "last_used_at": None, "revoked_at": None, **changes}
    made = datetime(2026, 7, 1, tzinfo=UTC)
    return ApiKey(uuid7(), "x", "Loja", KeyKind.LIVE, [], [], "test", made, **moments)
