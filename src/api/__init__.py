"""The edge and the composition root: HTTP, workers, command line. Only devkit imports it."""
