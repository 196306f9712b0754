"""Messages, as clients see them."""
