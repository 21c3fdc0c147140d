"""Text from other processes, safe to print on a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Text from another process, without control characters for the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
