"""How the system itself is doing."""
