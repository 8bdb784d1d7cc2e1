"""A stand-in, so that the launcher can be tested without control_plane."""
