"""Telling the end of a task from the end of something inside it: asyncio says both with the same word."""

import asyncio


def is_cancelling(error: BaseException) -> bool:
    """Whether an error says that somebody ends the present task, not only that a part of its work was broken off."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
