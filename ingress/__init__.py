"""HAProxy configuration as pure text made from the inventory."""
