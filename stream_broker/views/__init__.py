"""The shapes in which a log is shown: pure functions from events to bytes."""
