"""Decides, never touches a token: auth, policy, model choice, leases, usage."""
