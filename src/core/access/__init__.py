"""Who is asking, and on whose behalf."""
