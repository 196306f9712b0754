"""Sessions, people and organisations."""
