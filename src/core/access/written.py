"""News of people and organisations, written down for a sealed column and read back."""

from typing import Any

from core.ports import Membership, OrganizationNamed, Person, SessionEnded

Subject = Person | OrganizationNamed | Membership | SessionEnded


def subject_to_json(subject: Subject) -> dict[str, Any]:
    """Write down whom or what news are about."""
    match subject:
        case Person():
            person = {"id": subject.id, "name": subject.name, "email": subject.email, "avatarUrl": subject.avatar_url}
            return {"person": person | {"isBanned": subject.is_banned}}
        case OrganizationNamed():
            return {"organization": {"id": subject.id, "name": subject.name}}
        case Membership():
            member = {"userId": subject.user_id, "organizationId": subject.organization_id, "role": subject.role}
            return {"membership": member}
        case SessionEnded():
            return {"session": {"id": subject.session_id}}


def subject_from_json(data: dict[str, Any]) -> Subject:
    """Read what `subject_to_json` wrote."""
    if one := data.get("person"):
        # Written before there was such a word, it has none.
        return Person(one["id"], one["name"], one["email"], one["avatarUrl"], one.get("isBanned", False))
    if one := data.get("organization"):
        return OrganizationNamed(one["id"], one["name"])
    if one := data.get("session"):
        return SessionEnded(one["id"])
    one = data["membership"]
    return Membership(one["userId"], one["organizationId"], one["role"])
