"""The business: messages, webhooks, access and the ports to the outside. Knows no web framework and no provider."""
