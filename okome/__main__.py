"""`python -m okome` is the `okome` command."""

from okome.cli import main

main()
