"""Objects that can be fetched again by their id."""

import strawberry


@strawberry.interface(description="An object that can be fetched again by its id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque and global. Store it, compare it, never parse it.")
