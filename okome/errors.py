"""The one error that the command shows: a single line, what is wrong and how to mend it."""

from __future__ import annotations


class OkomeError(Exception):
    """Something a person can mend. The message is one line and ends in the remedy."""
