"""The toolkit of all simulators: faults, a journal, signed webhooks and a control API."""
