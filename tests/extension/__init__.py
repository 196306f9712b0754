"""A noun and a provider that are added without an edit to any other."""
