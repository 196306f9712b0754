"""Who did what: one event for each act, written with it and never changed."""
