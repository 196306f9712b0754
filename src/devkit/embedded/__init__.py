"""PostgreSQL and Valkey from installed wheels, with their data in one folder."""
