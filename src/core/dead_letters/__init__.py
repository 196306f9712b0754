"""Work that failed for good and waits for a decision."""
