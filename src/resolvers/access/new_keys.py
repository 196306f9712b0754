"""What a caller writes about a new API key, as core takes it, and what is wrong with it, as clients read it."""

from collections.abc import Sequence

from core.addresses import Address, email_address, phone_address, whatsapp_user_address
from core.errors import InvalidInput, Refused
from resolvers.arguments import given
from resolvers.messages.inputs import RecipientInput


def recipients_of(written: Sequence[RecipientInput]) -> Sequence[Address]:
    """Read recipients; raises Refused with all that is wrong with them."""
    found: list[Address] = []
    errors: list[InvalidInput] = []
    for place, one in enumerate(written):
        try:
            found.append(_address(one, ["input", "allowedRecipients", str(place)]))
        except InvalidInput as error:
            errors.append(error)
    if errors:
        raise Refused(errors)
    return found


def _address(written: RecipientInput, place: Sequence[str]) -> Address:
    if (phone := given(written.phone)) is not None:
        return phone_address(phone, path=[*place, "phone"])
    if (user := given(written.whatsapp_user_id)) is not None:
        return whatsapp_user_address(user, path=[*place, "whatsappUserId"])
    return email_address(given(written.email) or "", path=[*place, "email"])
