"""The ten nodes booted on one machine: containers with systemd in networks of their own."""
