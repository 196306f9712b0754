"""How fast, and whether at all, a company may be called just now: the same answer for every worker."""
