"""News of people and organisations, written down for a sealed column and read back."""

from typing import Any

from core.ports import Membership, OrganizationNamed, Person

Subject = Person | OrganizationNamed | Membership


def subject_to_json(subject: Subject) -> dict[str, Any]:
    """Write down whom or what news are about."""
    match subject:
        case Person():
            person = {"id": subject.id, "name": subject.name, "email": subject.email, "avatarUrl": subject.avatar_url}
            return {"person": person}
        case OrganizationNamed():
            return {"organization": {"id": subject.id, "name": subject.name}}
        case Membership():
            member = {"userId": subject.user_id, "organizationId": subject.organization_id, "role": subject.role}
            return {"membership": member}


def subject_from_json(data: dict[str, Any]) -> Subject:
    """Read what `subject_to_json` wrote."""
    if one := data.get("person"):
        return Person(one["id"], one["name"], one["email"], one["avatarUrl"])
    if one := data.get("organization"):
        return OrganizationNamed(one["id"], one["name"])
    one = data["membership"]
    return Membership(one["userId"], one["organizationId"], one["role"])
