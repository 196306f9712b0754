"""The error catalogues in English and Portuguese."""
