"""The cluster as data: the only place where an address is written."""
