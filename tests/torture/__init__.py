"""Clients that are cut off again and again while a real cluster's processes die."""
