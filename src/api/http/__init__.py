"""HTTP: GraphQL over requests, WebSockets and Server-Sent Events, webhooks, health, metrics, limits."""
