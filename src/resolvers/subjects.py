"""The object that a record is about: one of the types that the folders of resolvers contribute."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.union import StrawberryUnion

from core.nouns import SubjectKey
from resolvers.context import Info
from resolvers.global_ids import from_global_id
from resolvers.parts import all_subjects

if TYPE_CHECKING:
    Subject = Any
else:
    # Its types are known when the schema is built.
    Subject = StrawberryUnion("Subject", description="The object that a record is about.")

_NO_OBJECT = UUID(int=0)


def complete_union() -> None:
    """Give the union the types that all folders contribute."""
    Subject.type_annotations = tuple(StrawberryAnnotation(one.type) for one in all_subjects().values())


async def subject_of(info: Info, key: SubjectKey | None) -> Any:
    """The object a record speaks of; None when it speaks of none, or of one the caller has not."""
    if key is None or (subject := all_subjects().get(key.kind)) is None:
        return None
    return await subject.load(info, key.id)


def subject_asked_for(given: strawberry.ID | None) -> SubjectKey | None:
    """The object a filter names; None where there is no filter, and an object that nothing is about for other ids."""
    if given is None:
        return None
    named = from_global_id(given)
    if named is None or named[0] not in all_subjects() or len(named[1]) != 16:
        return SubjectKey("", _NO_OBJECT)
    return SubjectKey(named[0], UUID(bytes=named[1]))
