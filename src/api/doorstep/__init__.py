"""Before anything here looks at a request: who may knock, how often, how long, and what goes with answers."""
