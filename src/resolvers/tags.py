"""Pairs of a key and a value that mean something to the caller."""

import strawberry


@strawberry.type(description="A label that means something to the caller.")
class Tag:
    key: str
    value: str


@strawberry.input(description="A label that means something to the caller, or a template's variable and its value.")
class TagInput:
    key: str
    value: str
