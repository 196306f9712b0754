"""The built pages from `web/`, and the routes that serve them."""

from pathlib import Path

GRAPHIQL = Path(__file__).with_name("graphiql")
"""Where the Explorer lies once it is built; git ignores it, and the wheel carries it."""
