"""What a carrier reports of a parcel."""

from dataclasses import dataclass
from uuid import UUID

from core.ports.reports import ProviderEvent


@dataclass(frozen=True, slots=True)
class ParcelMoved(ProviderEvent):
    """A parcel reached a status; `tenant_id` and `parcel_id` are our own reference, absent where it names a depot."""

    status: str
    tenant_id: UUID | None = None
    parcel_id: UUID | None = None
    depot: str | None = None
