"""Templates, as clients see them."""
