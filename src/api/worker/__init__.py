"""The worker process: its loops, and the SAQ queue that wakes it."""
