"""Errors in the caller's language: Brazilian Portuguese if requested, English otherwise."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.i18n.catalogue import LANGUAGES, entries
from tests.edge.factories import Serving

GRAPHQL = "application/graphql-response+json"
SEND = """mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  errors { ... on UserError { __typename code message advice docs path } }
} }"""
TEXT = {"text": "Olá"}
PHONE = {"phone": "+5511987654321"}
SMS = [{"channel": "SMS"}]

# What is wrong with a message, and what is said about it.
PAYLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "PHONE_LACKS_NINTH_DIGIT": (
        {"to": {"phone": "+551187654321"}},
        "Falta em +551187654321 o 9 com que começam os celulares brasileiros. Você quis dizer +5511987654321?",
    ),
    "PHONE_LACKS_COUNTRY": (
        {"to": {"phone": "11 98765-4321"}},
        "Isto não é um número de telefone com o código do país. Você quis dizer +5511987654321?",
    ),
    "PHONE_MALFORMED": (
        {"to": {"phone": "?"}},
        "Isto não é um número de telefone com o código do país. Escreva como +5511987654321.",
    ),
    "PHONE_INVALID": (
        {"to": {"phone": "+55111"}},
        "O número +55111 não é um telefone válido. Verifique o tamanho e o DDD.",
    ),
    "TEXT_EMPTY": ({"content": {"text": " "}}, "O texto está vazio."),
    "TEXT_TOO_LONG": (
        {"content": {"text": "x" * 1_601}},
        "O texto tem 1601 caracteres; SMS aceita no máximo 1600. Encurte ou divida.",
    ),
    "ROUTE_EMPTY": ({"route": []}, "A rota está vazia. Informe pelo menos um canal, como [{channel: SMS}]."),
    "CHANNEL_TWICE": ({"route": SMS * 2}, "SMS está na rota duas vezes. Informe cada canal uma vez."),
    "WITHIN_ON_LAST_STEP": (
        {"route": [{"channel": "SMS", "within": "PT1M"}]},
        "Depois do último passo não há outro. Omita `within` ou informe `expiresIn`.",
    ),
    "EXPIRY_OUT_OF_RANGE": (
        {"expiresIn": "PT1S"},
        "`expiresIn` deve ser de PT10S (dez segundos) a P30D (trinta dias).",
    ),
    "EXTERNAL_ID_EMPTY": (
        {"externalId": " "},
        "O id externo está vazio. Não o informe, ou use de 1 a 255 caracteres.",
    ),
    "IDEMPOTENCY_KEY_TOO_LONG": (
        {"idempotencyKey": "k" * 256},
        "A chave de idempotência tem 256 caracteres; o limite é 255.",
    ),
    "SCHEDULE_IN_THE_PAST": ({"schedule": {"at": "2001-01-01T00:00:00Z"}}, "Este horário já passou: agora são "),
    "TEMPLATE_NOT_FOUND": (
        {"content": {"template": {"templateId": "x", "variables": []}}},
        "Não existe esse modelo.",
    ),
    "CHANNEL_NOT_CONFIGURED": (
        {"route": [{"channel": "WHATSAPP"}]},
        "WHATSAPP não está configurado neste servidor: defina ",
    ),
    "EMAIL_NEEDS_SUBJECT": (
        {"to": {"email": "ana@example.com"}, "route": [{"channel": "EMAIL"}]},
        "Um e-mail precisa de um assunto: informe `email` em vez de `text`.",
    ),
}


async def ask(client: httpx.AsyncClient, query: str, variables: Any = None, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    body = {"query": query, "variables": variables}
    return await client.post("/graphql", json=body, headers={"accept": GRAPHQL, **sent})


@pytest.mark.parametrize("code", PAYLOADS)
async def test_what_is_wrong_with_a_message_is_said_in_portuguese(
    client: httpx.AsyncClient, bearer: dict[str, str], code: str
) -> None:
    change, words = PAYLOADS[code]
    message = {"to": PHONE, "content": TEXT, "route": SMS, **change}
    answer = await ask(client, SEND, {"input": message}, accept_language="pt-BR,pt;q=0.9,en;q=0.8", **bearer)
    english = await ask(client, SEND, {"input": message}, **bearer)
    (error,) = answer.json()["data"]["sendMessage"]["errors"]
    (same,) = english.json()["data"]["sendMessage"]["errors"]
    assert error["code"] == same["code"] == code
    assert error["message"].startswith(words)
    assert error["message"] != same["message"]
    assert error["advice"] != same["advice"]
    assert error["docs"] == same["docs"] == f"https://api.example.com/docs/errors#{code.lower()}"


# How a whole request goes wrong: the document, the code, the more exact reason, and how the sentence begins.
REQUESTS: dict[str, tuple[str, str, str | None, str]] = {
    "syntax": ("{", "SYNTAX", None, "O documento não é GraphQL: "),
    "validation": ("{ nothing }", "VALIDATION", None, "O documento não combina com o esquema: "),
    "variables": ("query ($n: Int!) { messages(first: $n) { nodes { id } } }", "VARIABLES", None, "As variáveis não "),
    "operation": (
        "query A { __typename } query B { __typename }",
        "OPERATION",
        None,
        "Não dá para saber qual operação",
    ),
    "limit": ("{ " + "a: __typename " * 31 + "}", "LIMIT_EXCEEDED", None, "O documento passa de um limite: rootFields"),
    "page": ("{ messages(first: 101) { nodes { id } } }", "INVALID_INPUT", "PAGE_SIZE", "`first` deve ser de 0 a 100."),
    "cursor": (
        '{ messages(after: "x") { nodes { id } } }',
        "INVALID_INPUT",
        "CURSOR_UNKNOWN",
        "`after` não é um cursor desta lista.",
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_what_is_wrong_with_a_request_is_said_in_portuguese(
    client: httpx.AsyncClient, bearer: dict[str, str], case: str
) -> None:
    document, code, reason, words = REQUESTS[case]
    answer = await ask(client, document, accept_language="pt", **bearer)
    error = answer.json()["errors"][0]
    found = error["extensions"]
    assert (found["code"], found.get("reason")) == (code, reason)
    assert error["message"].startswith(words)
    assert found["advice"]
    assert found["docs"].endswith(f"/docs/errors#{(reason or code).lower()}")
    assert found["requestId"] == answer.headers["x-request-id"]


async def test_an_unauthenticated_caller_is_answered_in_portuguese(client: httpx.AsyncClient) -> None:
    missing = await ask(client, "{ integrations { name } }", accept_language="pt-BR")
    assert missing.json()["errors"][0]["message"].startswith("É preciso enviar credenciais")
    refused = await ask(client, "{ __typename }", accept_language="pt-BR", authorization="Bearer nonsense")
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["code"]) == (401, "UNAUTHENTICATED")
    assert (error["extensions"]["reason"], error["message"]) == (
        "TOKEN_UNKNOWN",
        "Este servidor não emitiu este token. Crie um com `interalpha token`.",
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1"])
async def test_a_body_that_makes_no_sense_is_refused_in_portuguese(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json", "accept-language": "pt-BR"}
    answer = await client.post("/graphql", content=body, headers=headers)
    english = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == english.status_code == 400
    assert answer.json()["errors"][0]["message"] != english.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [
        (None, "en"),
        ("pt-BR", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("de, fr;q=0.9", "en"),
        ("de, pt;q=0.5, en;q=0.4", "pt-BR"),
        ("en-GB, pt-BR;q=0.9", "en"),
        ("pt-BR;q=0", "en"),
    ],
)
async def test_answers_say_in_which_language_they_speak(
    client: httpx.AsyncClient, wanted: str | None, spoken: str
) -> None:
    answer = await ask(client, "{ nothing }", **({} if wanted is None else {"accept_language": wanted}))
    assert answer.headers["content-language"] == spoken
    assert "accept-language" in answer.headers["vary"]
    assert answer.json()["errors"][0]["message"].startswith("O documento") is (spoken == "pt-BR")


async def test_the_budget_is_used_up_in_portuguese(serving: Serving, bearer: dict[str, str]) -> None:
    async with serving(CALLER_BUDGET="100") as client:
        document = "{ messages(first: 90) { nodes { id } } }"
        answers = [await ask(client, document, accept_language="pt-BR", **bearer) for _ in range(2)]
    assert answers[1].json()["errors"][0]["message"].startswith("Esta requisição custa 91 pontos; restam ")


async def test_every_error_has_its_place_on_the_page_it_links_to(client: httpx.AsyncClient) -> None:
    for language, title in (("pt-BR", "<h1>Erros</h1>"), ("en", "<h1>Errors</h1>")):
        page = await client.get("/docs/errors", headers={"accept-language": language})
        assert (page.status_code, page.headers["content-language"]) == (200, language)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert title in page.text
        assert [code for code in entries(language) if f'<section id="{code.lower()}">' not in page.text] == []
        assert "default-src 'none'" in page.headers["content-security-policy"]
        # The page in the language of a link to it, whatever the browser prefers.
        assert (await client.get(f"/docs/errors?lang={language}")).text == page.text


async def test_the_page_of_errors_shows_no_markup_of_the_catalogue(client: httpx.AsyncClient) -> None:
    for language in LANGUAGES:
        page = (await client.get(f"/docs/errors?lang={language}")).text
        body = page[page.index("<body>") :]
        assert "`" not in body
        assert re.findall(r"\{\w+\}", body) == []
        assert "<code>extensions.code</code>" in body
        assert "<var>…</var>" in body


async def test_the_policy_allows_the_style_of_the_page_and_no_other(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs/errors")
    [style] = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in page.headers["content-security-policy"]


async def test_persisted_queries_keep_the_error_text_that_clients_expect(client: httpx.AsyncClient) -> None:
    body = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": uuid4().hex * 2}}}
    answer = await client.post("/graphql", json=body, headers={"accept-language": "pt-BR"})
    assert answer.json()["errors"][0]["message"] == "PersistedQueryNotFound"
