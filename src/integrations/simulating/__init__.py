"""What every false provider on this machine shares: faults, a journal, signed webhooks and a control API."""
