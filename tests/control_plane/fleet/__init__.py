"""Tests of control_plane/fleet."""
