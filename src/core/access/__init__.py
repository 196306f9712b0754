"""Who may do what: API keys, sessions, people, organisations and tenants."""
