"""What is asked for about personal data."""
