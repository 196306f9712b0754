"""Names chosen by users: which of them may be a person's number or address, and which certainly are not."""

from base64 import b64encode
from uuid import uuid4

from api.http.exchange import request_id_from
from core.masking import contains_address

TELLING = (
    "5511987654321",
    "req-5511987654321",
    "+55 11 98765-4321",
    "(11) 98765-4321",
    "55_11_98765_4321",
    "Loja da Ana ana@example.com",
    "ana%40example.com",
    "wamid." + b64encode(b"\x1c\x18\x0d5511987654321\x15\x02\x00").decode(),
    "00005511987654321",
    "11987654321-11987654321",
    "５５１１９８７６５４３２１",  # full-width
    "٥٥١١٩٨٧٦٥٤٣٢١",
    "ana＠example.com",
    b64encode(b"ana.maria@example.com").decode(),
)
HARMLESS = (
    "trace_1-a",
    "staging",
    "loja 2026-11-30",
    "2026-11-30 2026-12-01",
    "550e8400-e29b-41d4-a716-446655440000",
    "req_550e8400-e29b-41d4-a716-446655440000",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "build-1234567",
    "R$ 1.999,00",
)


def test_names_that_may_be_addresses_are_distinguished_from_generated_ones() -> None:
    assert [one for one in TELLING if not contains_address(one)] == []
    assert [one for one in HARMLESS if contains_address(one)] == []
    assert not any(contains_address(one) for _ in range(2_000) for one in (str(uuid4()), uuid4().hex))


def test_a_request_id_that_may_be_an_address_is_replaced() -> None:
    for given in ("5511987654321", "req-5511987654321"):
        assert request_id_from(given) != given
    for given in ("trace_1-a", str(uuid4()), uuid4().hex):
        assert request_id_from(given) == given
