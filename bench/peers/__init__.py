"""What is measured: one file a peer, each with how it is started and where it answers."""
