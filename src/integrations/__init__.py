"""One folder per provider. No provider's folder imports another's."""
