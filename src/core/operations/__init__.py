"""Health, dashboard, audit log and requeueing: what operators see and do."""
