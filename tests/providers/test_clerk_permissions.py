"""The scopes of an organisation's roles and permissions; an ambiguous one grants nothing."""

import pytest

from core.ports import InvalidToken, Tenancy, TokenFault
from core.ports.identity import Scope
from tests.providers.clerk_tokens import (
    GONE,
    claims,
    token,
    verified,
)

READ_SEND = {Scope.MESSAGES_READ, Scope.MESSAGES_SEND}


def member(**changes: object) -> dict[str, object]:
    return {"id": "org_1", "slg": "acme", "rol": "member", **changes}


async def test_roles_come_to_what_the_table_says() -> None:
    assert (await verified(token())).scopes == frozenset(Scope)
    assert (await verified(token(claims(o=member())))).scopes == READ_SEND
    assert (await verified(token(claims(o=member(rol="billing"))))).scopes == frozenset()
    table = '{"org:billing": ["MESSAGES_READ"]}'
    assert (await verified(token(claims(o=member(rol="billing"))), CLERK_ROLE_SCOPES=table)).scopes == {
        Scope.MESSAGES_READ
    }
    assert (await verified(token(), CLERK_ROLE_SCOPES=table)).scopes == frozenset()


async def test_permissions_come_to_what_the_table_says_before_what_their_names_say() -> None:
    organization = {"id": "org_1", "slg": "a", "rol": "billing", "per": "send,run", "fpm": "1,2"}
    text = token(claims(fea="o:messages,o:campaigns", o=organization))
    assert (await verified(text)).scopes == {Scope.MESSAGES_SEND}
    table = '{"org:campaigns:run": ["OPERATIONS_READ"]}'
    assert (await verified(text, CLERK_ROLE_SCOPES=table)).scopes == {Scope.MESSAGES_SEND, Scope.OPERATIONS_READ}
    taken = '{"org:messages:send": [], "org:campaigns:run": ["*"]}'
    assert (await verified(text, CLERK_ROLE_SCOPES=taken)).scopes == frozenset(Scope)
    assert (await verified(text, CLERK_ROLE_SCOPES='{"org:messages:send": []}')).scopes == frozenset()


async def test_permissions_are_unpacked_as_clerk_documents_them() -> None:
    organization = {"id": "org_1", "slg": "a", "rol": "admin", "per": "manage,read", "fpm": "3,2"}
    identity = await verified(token(claims(fea="o:dashboard,o:teams", o=organization)))
    assert identity.organization is not None
    assert set(identity.organization.permissions) == {
        "org:dashboard:manage",
        "org:dashboard:read",
        "org:teams:read",
    }


async def test_a_permission_gives_the_scope_of_its_name() -> None:
    organization = member(rol="clerk", per="read,send", fpm="2,1")
    identity = await verified(token(claims(fea="o:messages,o:operations", o=organization)))
    assert identity.scopes == {Scope.MESSAGES_SEND, Scope.OPERATIONS_READ}


async def test_features_of_the_person_may_have_a_mask_or_none() -> None:
    for masks in ("0,1", "1"):
        organization = member(rol="x", per="read", fpm=masks)
        identity = await verified(token(claims(fea="u:messages,o:operations", o=organization)))
        assert identity.scopes == {Scope.OPERATIONS_READ}


@pytest.mark.parametrize(
    ("features", "names", "masks"),
    [
        ("o:messages,o:operations", "read", "1"),
        ("u:a,o:messages,u:b", "read", "1,1"),
        ("o:messages", "read", "1,1"),
        ("o:messages", "read", "x"),
        ("o:messages", "read", "-1"),
        ("o:messages", "read", "3"),
        ("o:messages", "read", "1" * 40),
        ("o:messages,", "read", "1"),
        ("messages", "read", "1"),
        ("o:messages:send", "read", "1"),
        ("o:messages,o:messages", "read", "1,0"),
        ("o:messages", "read,read", "1"),
        ("o:messages", "read,", "1"),
        ("o:MESSAGES", "READ", "1"),
        ("z:messages", "read", "1"),
        (["o:messages"], ["read"], [1]),
        (None, "read", "1"),
    ],
)
async def test_what_is_ambiguous_gives_nothing(features: object, names: object, masks: object) -> None:
    said = claims(fea=features, o=member(rol="x", per=names, fpm=masks))
    assert (await verified(token(said))).scopes == frozenset()


@pytest.mark.parametrize(
    ("setting", "tenancy"), [("default", Tenancy.DEFAULT), ("own", Tenancy.OWN), ("OWN", Tenancy.OWN)]
)
async def test_a_session_without_an_organisation_is_about_what_the_setting_says(setting: str, tenancy: Tenancy) -> None:
    identity = await verified(token(claims(o=GONE)), CLERK_PERSONAL_TENANT=setting)
    assert (identity.tenancy, identity.organization, identity.scopes) == (tenancy, None, frozenset(Scope))


async def test_a_session_without_an_organisation_may_be_refused() -> None:
    with pytest.raises(InvalidToken) as caught:
        await verified(token(claims(o=GONE)), CLERK_PERSONAL_TENANT="refuse")
    assert caught.value.reason is TokenFault.NO_ORGANIZATION
    assert await verified(token(), CLERK_PERSONAL_TENANT="refuse")
