"""The event log: where a token must be before anybody is shown it."""
