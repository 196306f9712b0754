"""What every false company on this machine shares: faults, a journal, signed webhooks and a control API."""
