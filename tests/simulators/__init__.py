"""The false companies, tried with clients that nobody here wrote."""
