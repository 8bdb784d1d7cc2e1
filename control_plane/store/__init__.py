"""The control plane's memory: SQLite behind one thread. All SQL is in this package."""
