"""What callers are told, in their language: one catalogue each, and whoever reads them out."""
