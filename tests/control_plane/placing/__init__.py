"""Tests of control_plane/placing."""
