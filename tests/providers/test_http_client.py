"""HTTP calls over real sockets: which failures are certain, and which have an unknown outcome."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from gzip import compress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import OutcomeUnknown, ProviderUnavailable
from integrations.http_client import (
    MAX_RESPONSE_BYTES,
    MAX_RETRY_AFTER,
    HttpClient,
    HttpResponse,
    equal_in_constant_time,
    parse_retry_after,
)
from integrations.smtp.simulator.state import server_context
from tests.helpers import wait_until
from tests.providers.servers import Connection, Talk, scripted_server


async def nothing(line: Connection) -> None:
    await asyncio.Event().wait()


async def reset_before_reading(line: Connection) -> None:
    line.reset()


async def reset_after_reading(line: Connection) -> None:
    await line.request()
    line.reset()


async def close_before_reading(line: Connection) -> None:
    return


async def close_after_reading(line: Connection) -> None:
    await line.request()


async def half_a_head(line: Connection) -> None:
    await line.request()
    await line.say(b"HTTP/1.1 201 Created\r\nContent-Le")


async def half_a_body(line: Connection) -> None:
    await line.request()
    await line.say(b'HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"sid": ')


async def half_a_body_and_reset(line: Connection) -> None:
    await half_a_body(line)
    await asyncio.sleep(0.05)
    line.reset()


async def drip(line: Connection) -> None:
    await line.request()
    await line.say(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await line.say(b"x")
        await asyncio.sleep(0.05)


async def silence_after_reading(line: Connection) -> None:
    await line.request()
    await nothing(line)


async def garbage(line: Connection) -> None:
    await line.request()
    await line.say(b"\x00\xff\x15\x03\x01 not HTTP at all\r\n\r\n")


async def too_much(line: Connection) -> None:
    await line.request()
    await line.answer(200, b"x" * (MAX_RESPONSE_BYTES + 1))


async def too_much_once_unpacked(line: Connection) -> None:
    await line.request()
    await line.answer(200, compress(b"x" * (MAX_RESPONSE_BYTES * 4)), "Content-Encoding: gzip")


async def what_is_not_gzip(line: Connection) -> None:
    await line.request()
    await line.answer(200, b"plain", "Content-Encoding: gzip")


@pytest.mark.parametrize(
    "talk",
    [
        reset_before_reading,
        reset_after_reading,
        close_before_reading,
        close_after_reading,
        half_a_head,
        half_a_body,
        half_a_body_and_reset,
        garbage,
        what_is_not_gzip,
    ],
)
async def test_after_the_connection_is_made_the_outcome_is_unknown(http: HttpClient, talk: Talk) -> None:
    async with scripted_server(talk) as wire:
        with pytest.raises(OutcomeUnknown):
            await http.call("POST", wire.base, form={"To": "x"})
        assert (wire.connections, len(wire.requests) <= 1) == (1, True)


@pytest.mark.parametrize("talk", [drip, silence_after_reading])
async def test_an_answer_that_does_not_end_in_time_is_unknown(hasty: HttpClient, talk: Talk) -> None:
    async with scripted_server(talk) as wire:
        async with asyncio.timeout(3):
            with pytest.raises(OutcomeUnknown):
                await hasty.call("POST", wire.base)
        assert len(wire.requests) == 1


@pytest.mark.parametrize("talk", [too_much, too_much_once_unpacked])
async def test_an_answer_beyond_all_measure_is_not_read(http: HttpClient, talk: Talk) -> None:
    async with scripted_server(talk) as wire:
        with pytest.raises(OutcomeUnknown, match="more than we read"):
            await http.call("POST", wire.base)


async def test_a_refused_connection_did_nothing(http: HttpClient) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ProviderUnavailable):
            await http.call("POST", f"http://127.0.0.1:{closed.getsockname()[1]}")


async def test_an_unresolvable_name_did_nothing(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(ProviderUnavailable):
        await http.call("POST", "https://api.example.invalid/")


async def test_a_certificate_we_do_not_trust_did_nothing(http: HttpClient, tmp_path: Path) -> None:
    async with scripted_server(close_after_reading, server_context(tmp_path)[0]) as wire:
        with pytest.raises(ProviderUnavailable):
            await http.call("POST", f"https://127.0.0.1:{wire.port}")
        assert wire.requests == []


@pytest.mark.parametrize("talk", [close_before_reading, reset_before_reading, nothing, garbage])
async def test_a_handshake_that_fails_did_nothing(hasty: HttpClient, talk: Talk) -> None:
    async with scripted_server(talk) as wire:
        with pytest.raises(ProviderUnavailable):
            await hasty.call("POST", f"https://127.0.0.1:{wire.port}")


async def test_a_connection_that_never_comes_about_did_nothing(hasty: HttpClient) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        with pytest.raises(ProviderUnavailable):
            await hasty.call("POST", f"http://127.0.0.1:{full.getsockname()[1]}")


async def test_waiting_for_a_free_connection_did_nothing() -> None:
    # The busy ones must stay so for as long as it takes to open them all.
    http = HttpClient("twilio", connect_timeout=2.0, total_timeout=60)
    async with scripted_server(silence_after_reading) as wire:
        busy = [asyncio.create_task(http.call("POST", wire.base)) for _ in range(100)]
        await wait_until(lambda: wire.connections == 100, 30)
        with pytest.raises(ProviderUnavailable):
            await http.call("POST", wire.base)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    await http.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_not_followed(http: HttpClient, status: int) -> None:
    async def send_on(line: Connection) -> None:
        await line.request()
        await line.answer(status, b"", f"Location: {elsewhere.base}/stolen")

    async with scripted_server(close_after_reading) as elsewhere, scripted_server(send_on) as wire:
        answer = await http.call("POST", wire.base, headers={"authorization": "Basic secret"})
        assert (answer.status, elsewhere.connections) == (status, 0)


async def test_a_proxy_of_the_environment_never_sees_what_is_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def greet(line: Connection) -> None:
        await line.request()
        await line.answer(200, b"direct")

    async with scripted_server(close_after_reading) as proxy, scripted_server(greet) as wire:
        monkeypatch.setenv("HTTP_PROXY", proxy.base)
        http = HttpClient("twilio", total_timeout=1)
        answer = await http.call("GET", wire.base)
        await http.close()
        assert (answer.body, proxy.connections) == (b"direct", 0)


async def test_what_is_elsewhere_goes_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(line: Connection) -> None:
        await line.request()
        await line.answer(407)

    async with scripted_server(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.base.replace("://", "://user:p%40ss@"))
        monkeypatch.setenv("NO_PROXY", ".example.invalid")
        http = HttpClient("twilio", total_timeout=1, connect_timeout=0.5)
        # A proxy that refuses to connect did nothing either.
        for address in ("https://api.example.com/a", "https://nobody.example.invalid/a"):
            with pytest.raises(ProviderUnavailable) as refused:
                await http.call("POST", address)
            assert "p@ss" not in str(refused.value)
        await http.close()
        assert proxy.connections == 1
        assert proxy.requests[0].startswith(b"CONNECT api.example.com:443 HTTP/1.1")
        assert b"proxy-authorization: Basic dXNlcjpwQHNz" in proxy.requests[0].replace(b"Proxy-A", b"proxy-a")


async def test_a_kept_connection_closed_while_idle_is_replaced(http: HttpClient) -> None:
    async def once(line: Connection) -> None:
        await line.request()
        await line.answer(200, str(line.number).encode())

    async with scripted_server(once) as wire:
        assert (await http.call("POST", wire.base)).body == b"1"
        # The end of the connection has to reach us; nothing signals when it has.
        await asyncio.sleep(0.05)
        assert (await http.call("POST", wire.base)).body == b"2"
        assert len(wire.requests) == 2


async def test_a_kept_connection_closed_under_a_request_is_not_tried_again(http: HttpClient) -> None:
    async def once_and_then_hang_up(line: Connection) -> None:
        await line.request()
        await line.answer(200)
        await line.request()

    async with scripted_server(once_and_then_hang_up) as wire:
        await http.call("POST", wire.base)
        with pytest.raises(OutcomeUnknown):
            await http.call("POST", wire.base)
        assert (wire.connections, len(wire.requests)) == (1, 2)


async def test_a_form_and_a_query_arrive_as_they_are(http: HttpClient) -> None:
    async def greet(line: Connection) -> None:
        await line.request()
        await line.answer(200, b"ok", "X-Word: Olá", "Retry-After: 7")

    async with scripted_server(greet) as wire:
        answer = await http.call("POST", f"{wire.base}/a", form={"Body": "Olá & adeus"}, query={"q": "1+1"})
        assert (answer.status, answer.body, answer.retry_after) == (200, b"ok", 7)
        assert wire.requests[0].startswith(b"POST /a?q=1%2B1 HTTP/1.1")
        assert wire.requests[0].endswith(b"Body=Ol%C3%A1+%26+adeus")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("9" * 400, MAX_RETRY_AFTER),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_retry_after_can_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < (parse_retry_after(soon) or 0) <= 90


def test_a_date_counts_from_the_providers_clock_and_not_from_ours() -> None:
    theirs = datetime.now(UTC) + timedelta(hours=1)
    soon = format_datetime(theirs + timedelta(seconds=90), usegmt=True)
    assert parse_retry_after(soon, said_at=format_datetime(theirs, usegmt=True)) == 90
    assert parse_retry_after(soon, said_at="yesterday") == pytest.approx(3_690, abs=5)


def test_an_answer_brings_the_clock_its_retry_after_counts_from() -> None:
    headers = {"retry-after": "Mon, 23 Nov 2026 14:00:05 GMT", "date": "Mon, 23 Nov 2026 14:00:00 GMT"}
    assert HttpResponse(429, headers, b"").retry_after == 5


@given(st.text() | st.from_regex(r"\A(Mon, )?\d{1,3} [A-Z][a-z]{2} \d{1,5} \d{1,3}:\d{1,3}(:\d{1,3})? [+-]?\w{1,6}\Z"))
def test_no_retry_after_breaks_us(header: str) -> None:
    seconds = parse_retry_after(header)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@given(st.text(), st.text())
def test_comparing_takes_any_characters(ours: str, theirs: str) -> None:
    if not any("\ud800" <= character <= "\udfff" for character in ours):
        assert equal_in_constant_time(ours, theirs) == (ours == theirs)
