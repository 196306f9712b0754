"""Messages: accepting, delivering, following and reading them."""
