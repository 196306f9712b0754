"""The edge and the composition root: HTTP, sockets, worker, command line. Nobody imports it."""
