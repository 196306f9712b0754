"""Who is asking, as clients see it."""
