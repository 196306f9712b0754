"""Webhooks that came in: each event kept once, then applied by a worker."""
