"""The audit log: one event for each action, written in its transaction and never changed."""
