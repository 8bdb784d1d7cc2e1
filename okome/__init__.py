"""The `okome` command and the one-machine launcher. Imports everything, imported by nothing."""
