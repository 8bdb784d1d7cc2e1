"""Stand-in for control_plane: ready at once, answers everything with 200."""

from standin import main

main("control_plane")
