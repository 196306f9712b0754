"""Writes an audit event for every mutation, in one place for all of them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from inspect import isawaitable
from typing import Any

import structlog
from graphql import GraphQLResolveInfo, GraphQLSchema

from core.audit.act import Act, Refusal
from core.errors import AppError
from resolvers.context import Context
from resolvers.global_ids import target_of

log = structlog.get_logger(__name__)

Resolve = Callable[..., Any]


def audit_mutations(schema: GraphQLSchema) -> None:
    """Put the seam around every mutation of a schema.

    What was done, a verb writes in its own transaction, by `context.act`. What it did not write is written here:
    refusals, and what has no transaction of its own, or has forgotten.
    """
    if schema.mutation_type is not None:
        for name, field in schema.mutation_type.fields.items():
            if field.resolve is not None:
                field.resolve = _audited(name, field.resolve)


def _audited(name: str, resolve: Resolve) -> Callable[..., Awaitable[Any]]:
    async def audited(source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        context: Context = info.context
        act = context.begin_act(name)
        try:
            payload = resolve(source, info, **arguments)
            if isawaitable(payload):
                payload = await payload
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "INTERNAL"
            targets: list[str | None] = [*_named(arguments.get("input"))] or [None]
            await _tell(context, act, [_refusal(code, one) for one in targets])
            raise
        await _tell(context, act, list(_refusals(payload, arguments.get("input"))))
        return payload

    return audited


async def _tell(context: Context, act: Act | None, refusals: list[Refusal]) -> None:
    # A caller without credentials belongs to no tenant, so there is no log for the event.
    if act is None or (act.is_recorded and not refusals):
        return
    try:
        async with context.services.database.transaction(act.tenant_id) as connection:
            if not refusals:
                await act.done(connection)
            await act.refused(connection, refusals)
    except AppError as error:
        # The act itself is answered for already, or refused: that must not change for want of an event.
        log.error("audit_event_lost", action=act.author.action, actor=act.author.actor, reason=error.message)


def _refusals(payload: object, given: object) -> Iterator[Refusal]:
    """What a payload says was not done, each with the object it was about."""
    ids = list(_named(given))
    for error in getattr(payload, "errors", ()):
        yield _refusal(error.code, getattr(error, "id", None) or _meant(ids, error.path))


def _refusal(code: str, id: str | None) -> Refusal:
    return Refusal(code, *(target_of(id) if id else (None, None)))


def _meant(ids: list[str], path: list[str] | None) -> str | None:
    last = path[-1] if path else ""
    if last.isdigit() and int(last) < len(ids):
        return ids[int(last)]
    return ids[0] if len(ids) == 1 else None


def _named(given: object) -> Iterator[str]:
    """The ids an input begins with: `id`, or `ids`."""
    fields: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if isinstance(one := fields.get("id"), str):
        yield one
    several = fields.get("ids")
    if isinstance(several, list):
        yield from (str(one) for one in several[:100])
