"""Where the text of a document comes from: the request, the manifest of trusted ones, or what was registered before."""
