"""Clerk's objects in its own format, and the signed webhooks about them.

https://clerk.com/docs/guides/development/webhooks/overview
"""

import json
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any

from integrations.clerk.simulator.state import Account, Member, Organization, Session, State, User
from integrations.simulating.webhooks import Webhook

Json = dict[str, Any]


def webhook(account: Account, kind: str, data: object, now: datetime, *, age: int = 0) -> Webhook:
    """A signed webhook about anything."""
    moment = now - timedelta(seconds=age)
    body = json.dumps(
        {
            "data": data,
            "event_attributes": {"http_request": {"client_ip": "203.0.113.7", "user_agent": "Mozilla/5.0"}},
            "instance_id": "ins_simulated",
            "object": "event",
            "timestamp": milliseconds(moment),
            "type": kind,
        }
    )
    name, seconds = f"msg_{token_hex(12)}", int(moment.timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Svix-Webhooks/1.90.0",
        "svix-id": name,
        "svix-timestamp": str(seconds),
        "svix-signature": account.sign(name, seconds, body),
    }
    return Webhook(f"webhook-{name}", account.webhook_url, headers, body, "", "")


def user_resource(user: User) -> Json:
    """A person as Clerk shows them."""
    return {
        "id": user.id,
        "object": "user",
        "username": None,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "image_url": f"https://img.clerk.com/{user.id}",
        "has_image": False,
        "primary_email_address_id": f"idn_{user.id}",
        "primary_phone_number_id": None,
        "email_addresses": [
            {
                "id": f"idn_{user.id}",
                "object": "email_address",
                "email_address": user.email,
                "verification": {"status": "verified", "strategy": "email_code"},
                "linked_to": [],
            }
        ],
        "phone_numbers": [],
        "public_metadata": {},
        "external_id": None,
        "banned": user.banned,
        "locked": False,
        "created_at": milliseconds(user.created_at),
        "updated_at": milliseconds(user.updated_at),
    }


def organization_resource(organization: Organization) -> Json:
    """A business as Clerk shows it."""
    return {
        "id": organization.id,
        "object": "organization",
        "name": organization.name,
        "slug": organization.slug,
        "image_url": f"https://img.clerk.com/{organization.id}",
        "has_image": False,
        "public_metadata": {},
        "created_at": milliseconds(organization.created_at),
        "updated_at": milliseconds(organization.updated_at),
    }


def membership_resource(records: State, member: Member) -> Json:
    """A membership as Clerk shows it, both sides in it."""
    user, organization = records.user(member.user_id), records.organization(member.organization_id)
    return {
        "id": member.id,
        "object": "organization_membership",
        "role": member.role,
        "permissions": member.permissions,
        "public_metadata": {},
        "organization": organization_resource(organization),
        "public_user_data": {
            "user_id": user.id,
            "first_name": user.first_name,
            "last_name": user.last_name,
            "image_url": f"https://img.clerk.com/{user.id}",
            "has_image": False,
            "identifier": user.email,
        },
        "created_at": milliseconds(member.created_at),
        "updated_at": milliseconds(member.updated_at),
    }


def session_resource(session: Session, now: datetime) -> Json:
    """A session as Clerk shows it."""
    return {
        "id": session.id,
        "object": "session",
        "user_id": session.user_id,
        "client_id": "client_simulated",
        "status": session.status,
        "last_active_at": milliseconds(session.created_at),
        "created_at": milliseconds(session.created_at),
        "updated_at": milliseconds(now),
    }


def milliseconds(moment: datetime) -> int:
    """A moment as Clerk writes it."""
    return round(moment.timestamp() * 1000)
