"""Changes in the simulated Clerk: people and organisations are created, changed and deleted, each with its webhook."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any

from integrations.clerk.simulator import webhooks
from integrations.clerk.simulator.control import (
    BanOrder,
    EmitOrder,
    MemberOrder,
    MemberReference,
    OrganizationEventOrder,
    OrganizationOrder,
    OrganizationReference,
    RevokeOrder,
    SignInOrder,
    TokenOrder,
    UserEventOrder,
    UserOrder,
    UserReference,
)
from integrations.clerk.simulator.state import Account, Member, Organization, Session, User, initial_state
from integrations.clerk.simulator.token_issuer import TokenIssuer, claims_of
from integrations.simulating.provider import ControlRefused
from integrations.simulating.webhooks import Event, Webhook, event

Json = dict[str, Any]
_TICK = timedelta(milliseconds=1)


class Backend:
    """One instance's backend; `now` is the provider's clock. Each change gives the webhook that tells of it."""

    def __init__(self, account: Account, now: Callable[[], datetime]) -> None:
        self.account = account
        self.records = initial_state()
        self.keyring = TokenIssuer()
        self._now = now

    def save_user(self, order: UserOrder) -> tuple[User, Webhook]:
        """A person signs up or changes."""
        key = order.id or f"user_{token_hex(8)}"
        known = self.records.users.get(key)
        user = known or User(key, "Caio", "Reis", f"{key}@example.com".lower(), self._now(), self._now())
        user.first_name = order.first_name or user.first_name
        user.last_name = order.last_name or user.last_name
        user.email = order.email or user.email
        user.updated_at = self._later(user.updated_at) if known else user.updated_at
        self.records.users[key] = user
        return user, self.tell(f"user.{'updated' if known else 'created'}", webhooks.user_resource(user))

    def save_organization(self, order: OrganizationOrder) -> tuple[Organization, Webhook]:
        """A business is founded or renamed."""
        key = order.id or f"org_{token_hex(8)}"
        known = self.records.organizations.get(key)
        made = Organization(key, order.name, order.slug or key.lower().replace("_", "-"), self._now(), self._now())
        organization = known or made
        organization.name = order.name
        organization.slug = order.slug or organization.slug
        organization.updated_at = self._later(organization.updated_at) if known else organization.updated_at
        self.records.organizations[key] = organization
        kind = f"organization.{'updated' if known else 'created'}"
        return organization, self.tell(kind, webhooks.organization_resource(organization))

    def save_member(self, order: MemberOrder) -> tuple[Member, Webhook]:
        """A person joins, or comes to another role."""
        user, organization = self.records.user(order.user), self.records.organization(order.organization)
        known, now = self.records.member(user.id, organization.id), self._now()
        made = Member(f"orgmem_{token_hex(8)}", user.id, organization.id, order.role, [], now, now)
        member = known or made
        member.role, member.permissions = order.role, list(order.permissions)
        member.updated_at = self._later(member.updated_at) if known else member.updated_at
        if known is None:
            self.records.members.append(member)
        kind = f"organizationMembership.{'updated' if known else 'created'}"
        return member, self.tell(kind, webhooks.membership_resource(self.records, member))

    def remove_member(self, order: MemberReference) -> Webhook:
        """A person leaves a business."""
        member = self.records.member(order.user, order.organization)
        if member is None:
            raise ControlRefused(f"{order.user} is no member of {order.organization}", field="user")
        data = webhooks.membership_resource(self.records, member)
        self.records.members.remove(member)
        return self.tell("organizationMembership.deleted", data)

    def ban_user(self, order: BanOrder) -> tuple[User, Webhook]:
        """A person is banned, which ends their sessions; or is let in again."""
        user = self.records.user(order.user)
        user.banned, user.updated_at = order.banned, self._later(user.updated_at)
        if order.banned:
            self._end(lambda session: session.user_id == user.id)
        return user, self.tell("user.updated", webhooks.user_resource(user))

    def delete_user(self, order: UserReference) -> Webhook:
        """A person is deleted, and with them their memberships and sessions, of which nothing more is said."""
        user = self.records.user(order.user)
        del self.records.users[user.id]
        self.records.members[:] = [one for one in self.records.members if one.user_id != user.id]
        self._end(lambda session: session.user_id == user.id)
        return self.tell("user.deleted", {"id": user.id, "object": "user", "deleted": True})

    def delete_organization(self, order: OrganizationReference) -> Webhook:
        """A business is deleted."""
        organization = self.records.organization(order.organization)
        del self.records.organizations[organization.id]
        self.records.members[:] = [one for one in self.records.members if one.organization_id != organization.id]
        self._end(lambda session: session.organization_id == organization.id)
        return self.tell("organization.deleted", {"id": organization.id, "object": "organization", "deleted": True})

    def sign_in(self, order: SignInOrder) -> Json:
        """A session begins; its first token comes with it."""
        user = self.records.user(order.user)
        chosen = None if order.personal else order.organization or self.records.first_of(user.id)
        if chosen is not None and self.records.member(user.id, chosen) is None:
            raise ControlRefused(f"{user.id} is no member of {chosen}", field="organization")
        status = "pending" if order.pending else "active"
        session = Session(f"sess_{token_hex(12)}", user.id, chosen, order.origin, status, self._now())
        self.records.sessions[session.id] = session
        return self._token(session, order.lifetime)

    def fresh_token(self, order: TokenOrder) -> Json:
        """A page fetches a token; refused once the session has ended."""
        session = self.records.session(order.session)
        if session.status not in ("active", "pending"):
            raise ControlRefused(f"the session is {session.status}", field="session")
        return self._token(session, order.lifetime)

    def revoke(self, order: RevokeOrder) -> tuple[Session, Webhook]:
        """A session ends before its time."""
        newest = next(reversed(self.records.sessions), None)
        if order.session is None and newest is None:
            raise ControlRefused("no person has signed in yet", field="session")
        session = self.records.session(order.session or newest or "")
        session.status = "revoked"
        return session, self.tell("session.revoked", webhooks.session_resource(session, self._now()))

    def emit(self, order: EmitOrder) -> Webhook:
        """A webhook of any content."""
        return webhooks.webhook(self.account, order.type, order.data, self._now(), age=order.age)

    def tell(self, kind: str, data: Json) -> Webhook:
        """A webhook about what has just happened."""
        return webhooks.webhook(self.account, kind, data, self._now())

    def _token(self, session: Session, lifetime: int) -> Json:
        claims = claims_of(self.records, session, self.account.issuer, self._now(), lifetime)
        return {"session": session.id, "token": self.keyring.sign(claims), "claims": claims}

    def _end(self, concerns: Callable[[Session], bool]) -> None:
        for session in self.records.sessions.values():
            if concerns(session):
                session.status = "removed"

    def _later(self, moment: datetime) -> datetime:
        # Two changes within a millisecond would look like one.
        return max(self._now(), moment + _TICK)


# Events that the simulated Clerk can be told to send, by name.


def events_of(backend: Backend) -> Mapping[str, Event]:
    """The events of one instance."""
    return {
        "clerk.user": event(
            "A person signs up, or changes their name.", UserEventOrder, lambda o: backend.save_user(o)[1]
        ),
        "clerk.user_deleted": event("A person is deleted.", UserReference, backend.delete_user),
        "clerk.user_banned": event("A person is banned.", BanOrder, lambda o: backend.ban_user(o)[1]),
        "clerk.organization": event(
            "A business is founded, or renamed.", OrganizationEventOrder, lambda o: backend.save_organization(o)[1]
        ),
        "clerk.organization_deleted": event(
            "A business is deleted.", OrganizationReference, backend.delete_organization
        ),
        "clerk.member": event(
            "A person joins a business, or comes to another role.", MemberOrder, lambda o: backend.save_member(o)[1]
        ),
        "clerk.member_removed": event("A person leaves a business.", MemberReference, backend.remove_member),
        "clerk.session_revoked": event("A session ends before its time.", RevokeOrder, lambda o: backend.revoke(o)[1]),
    }
