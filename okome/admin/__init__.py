"""What an operator does to users, keys, quotas and logins of a running control plane."""
