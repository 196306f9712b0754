"""What the simulated Clerk can be made to tell us, by name."""

from collections.abc import Mapping

from integrations.clerk.simulator.desk import Desk
from integrations.clerk.simulator.orders import (
    BanOrder,
    MemberOrder,
    OrganizationNews,
    RevokeOrder,
    UserNews,
    WhichMember,
    WhichOrganization,
    WhichUser,
)
from integrations.simulating.events import Event, event


def events_of(desk: Desk) -> Mapping[str, Event]:
    """The events of one instance."""
    return {
        "clerk.user": event("Somebody signs up, or changes their name.", UserNews, lambda o: desk.save_user(o)[1]),
        "clerk.user_deleted": event("A person is deleted.", WhichUser, desk.delete_user),
        "clerk.user_banned": event("A person is banned.", BanOrder, lambda o: desk.ban_user(o)[1]),
        "clerk.organization": event(
            "A business is founded, or renamed.", OrganizationNews, lambda o: desk.save_organization(o)[1]
        ),
        "clerk.organization_deleted": event("A business is deleted.", WhichOrganization, desk.delete_organization),
        "clerk.member": event(
            "A person joins a business, or comes to another role.", MemberOrder, lambda o: desk.save_member(o)[1]
        ),
        "clerk.member_removed": event("A person leaves a business.", WhichMember, desk.remove_member),
        "clerk.session_revoked": event("A session ends before its time.", RevokeOrder, lambda o: desk.revoke(o)[1]),
    }
