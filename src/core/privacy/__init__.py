"""Personal data: erasing a person's, deleting what is older than its retention, and rotating encryption keys."""
