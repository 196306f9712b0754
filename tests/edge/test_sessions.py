"""Clerk sessions at the HTTP edge: in a header, in a cookie, over a socket, beside other credentials."""

from typing import Any

import httpx
import pytest

from core.access.sessions import DevelopmentTokens
from integrations.clerk.settings import cookie_suffix
from tests.apps import UNREACHABLE
from tests.edge.factories import CLERK_SETTINGS, OWN_ORIGIN, Serving
from tests.providers.clerk_tokens import GONE, STRANGERS_KEY, claims, token
from tests.servers import CLERK

WHO = "{ viewer { organization { name } scopes } }"
UNVERIFIABLE = {**CLERK, "CLERK_API_BASE": UNREACHABLE}


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await client.post("/graphql", json={"query": WHO}, headers=named)


def viewer(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["viewer"]


def session(organization: str = "org_Edge", **changes: Any) -> str:
    return token(claims(o={"id": organization, "rol": "member"}, **changes))


async def test_a_session_in_a_header_is_let_in(serving: Serving) -> None:
    async with serving(**CLERK_SETTINGS) as client:
        found = viewer(await ask(client, authorization=f"Bearer {session()}"))
    assert found == {"organization": {"name": "org_Edge"}, "scopes": ["MESSAGES_READ", "MESSAGES_SEND"]}


async def test_a_session_has_a_budget_of_its_own_and_the_viewer_shows_it(serving: Serving) -> None:
    # It costs more than the 1,000 points that come back in a second: a busy machine may answer late.
    costly = "messages(first: 99) { nodes { events(first: 50) { nodes { status } } } }"
    question = {"query": f"{{ viewer {{ rateLimit {{ limit remaining cost }} }} {costly} }}"}
    async with serving(**CLERK_SETTINGS) as client:
        first, second, other = [
            await client.post("/graphql", json=question, headers={"authorization": f"Bearer {session(sub=who)}"})
            for who in ("user_Payer", "user_Payer", "user_Other")
        ]
    left = [viewer(one)["rateLimit"]["remaining"] for one in (first, second, other)]
    cost = viewer(first)["rateLimit"]["cost"]
    assert cost >= 100
    assert left[0] == left[2] == 60_000 - cost
    # Points come back while we ask.
    assert left[0] - cost <= left[1] < left[0]
    assert [int(one.headers["ratelimit-remaining"]) for one in (first, second, other)] == left


async def test_a_rejected_session_is_answered_with_the_reason_in_the_language_of_its_page(serving: Serving) -> None:
    async with serving(**CLERK_SETTINGS) as client:
        answer = await ask(client, authorization=f"Bearer {token(key=STRANGERS_KEY)}", accept_language="pt-BR,pt;q=0.9")
    [error] = answer.json()["errors"]
    assert (answer.status_code, answer.headers["content-language"]) == (401, "pt-BR")
    assert error["message"] == "O token da sessão não é da instância do Clerk deste servidor."
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("UNAUTHENTICATED", "SESSION_NOT_OURS")
    assert error["extensions"]["docs"].endswith("#session_not_ours")


async def test_development_tokens_are_let_in_beside_sessions_outside_production(serving: Serving) -> None:
    async with serving(**CLERK_SETTINGS) as client:
        found = viewer(await ask(client, authorization=f"Bearer {DevelopmentTokens(b'k' * 32).make()}"))
    assert found["organization"] == {"name": "Default"}


async def test_in_production_sessions_alone_are_let_in(serving: Serving) -> None:
    production = {"APP_ENV": "production", "CLERK_PERSONAL_TENANT": "refuse"}
    async with serving(**CLERK_SETTINGS, **production) as client:
        assert viewer(await ask(client, authorization=f"Bearer {session()}"))
        refused = await ask(client, authorization=f"Bearer {DevelopmentTokens(b'k' * 32).make()}")
        assert refused.status_code == 401
        alone = await ask(client, authorization=f"Bearer {token(claims(o=GONE))}")
        assert alone.status_code == 401
        assert "CLERK_PERSONAL_TENANT" in alone.text


async def test_a_forged_session_is_refused_counted_and_shown_nowhere(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    forged = token(key=STRANGERS_KEY)
    async with serving(**CLERK_SETTINGS) as client:
        answer = await ask(client, authorization=f"Bearer {forged}")
        good = f"Bearer {DevelopmentTokens(b'k' * 32).make()}"
        metrics = (await client.get("/metrics", headers={"authorization": good})).text
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert 'interalpha_sessions_refused_total{reason="signature"}' in metrics
    told = f"{answer.text} {answer.headers} {metrics} {capfd.readouterr()}"
    assert [part for part in forged.split(".") if part in told] == []


async def test_without_keys_callers_are_asked_to_come_again(serving: Serving) -> None:
    async with serving(**UNVERIFIABLE) as client:
        answer = await ask(client, authorization=f"Bearer {session()}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["errors"][0]["extensions"]["code"] == "TRY_AGAIN"


# ─── cookies ────────────────────────────────────────────────────────────────

SAME_SITE = [
    {"sec_fetch_site": "same-origin", "origin": OWN_ORIGIN},
    {"sec_fetch_site": "same-origin"},
    {},
]


@pytest.mark.parametrize("headers", SAME_SITE)
async def test_a_cookie_of_the_same_site_is_taken(serving: Serving, headers: dict[str, str]) -> None:
    async with serving(**CLERK_SETTINGS) as client:
        found = viewer(await ask(client, cookie=f"a=b; __session={session(azp=OWN_ORIGIN)}", **headers))
    assert found["organization"] == {"name": "org_Edge"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec_fetch_site": "cross-site", "origin": "https://evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "none"}, 200),
        # An old browser on our page or a foreign one: its headers do not say which reliably.
        ({"origin": OWN_ORIGIN}, 200),
        ({"origin": "null", "sec_fetch_site": "cross-site"}, 403),
        # A page of ours elsewhere may call, and brings its token itself.
        ({"sec_fetch_site": "cross-site", "origin": OWN_ORIGIN}, 200),
    ],
)
async def test_a_cookie_from_another_site_is_ignored(serving: Serving, headers: dict[str, str], status: int) -> None:
    async with serving(**CLERK_SETTINGS) as client:
        answer = await ask(client, cookie=f"__session={session(azp=OWN_ORIGIN)}", **headers)
    assert answer.status_code == status
    if status == 200:
        assert viewer(answer) is None


async def test_a_cookie_without_a_page_is_refused(serving: Serving) -> None:
    async with serving(**CLERK_SETTINGS) as client:
        assert (await ask(client, cookie=f"__session={session(azp=GONE)}")).status_code == 401
        assert viewer(await ask(client, authorization=f"Bearer {session(azp=GONE)}"))


async def test_the_header_comes_before_the_cookie_and_this_instances_cookie_before_others(serving: Serving) -> None:
    one, other = session("org_One", azp=OWN_ORIGIN), session("org_Other", azp=OWN_ORIGIN)
    async with serving(**CLERK_SETTINGS) as client:
        both = viewer(await ask(client, authorization=f"Bearer {one}", cookie=f"__session={other}"))
        assert both["organization"] == {"name": "org_One"}
        suffixed = f"__session_{cookie_suffix(CLERK['NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY'])}"
        both = viewer(await ask(client, cookie=f"__session={other}; broken; {suffixed}={one}"))
        assert both["organization"] == {"name": "org_One"}
        wrong = await ask(client, authorization="Bearer nonsense", cookie=f"__session={one}")
        assert wrong.status_code == 401


async def test_without_clerk_cookies_mean_nothing(serving: Serving) -> None:
    async with serving() as client:
        assert viewer(await ask(client, cookie="__session=x")) is None
