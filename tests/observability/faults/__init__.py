"""Faults in a running cluster: each on its panel, each by its alert, and by no other."""
