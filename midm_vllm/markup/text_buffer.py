"""The text being read: the current delta, and what is held back of it and of earlier ones.

The buffer decides nothing: the parsers do, the reader for prose and blocks, the call parser for
the object of one call.
"""

from __future__ import annotations

import re

from midm_vllm.markup.tags import TAGS, WHITESPACE, unfinished_tag

_whitespace = re.compile(f"[{WHITESPACE}]*").match


class TextBuffer:
    """A delta with a reading position, and held text.

    Attributes:
        text: The delta, from where reading began or the last :meth:`rewind` led.
        position: Where in ``text`` reading goes on.
        carry: The end of the delta, if it may be part of a tag or of an escape.
    """

    __slots__ = ("text", "position", "carry", "_held", "_held_length", "_held_from")

    def __init__(self) -> None:
        self.text = ""
        self.position = 0
        self.carry = ""
        # Pieces of earlier deltas, their length, and where held text begins or, if there
        # are such pieces, continues in this delta.
        self._held: list[str] = []
        self._held_length = 0
        self._held_from: int | None = None

    @property
    def is_holding(self) -> bool:
        """Whether any text is held or carried."""
        return self._held_from is not None or bool(self.carry)

    @property
    def held_length(self) -> int:
        """How many characters are held or carried, between two deltas."""
        here = 0 if self._held_from is None else len(self.text) - self._held_from
        return self._held_length + here + len(self.carry)

    def append(self, delta: str) -> None:
        """Replace the text, which must have been read to its end, with the next delta."""
        if self._held_from is not None:
            piece = self.text[self._held_from :]
            self._held.append(piece)
            self._held_length += len(piece)
            self._held_from = 0
        if self.carry:
            delta = self.carry + delta
            self.carry = ""
        self.text = delta
        self.position = 0

    def hold(self, position: int) -> None:
        """Hold the text from ``position`` on, unless text is held already."""
        if self._held_from is None:
            self._held_from = position

    def drop(self) -> None:
        """Forget the held text."""
        if self._held:
            self._held.clear()
            self._held_length = 0
        self._held_from = None

    def take_all(self) -> str:
        """Return all that is held or carried, and forget the text."""
        self.append("")
        text = self.take(len(self.text))
        self.text = ""
        return text

    def take(self, end: int) -> str:
        """Return the held text up to ``end``, and hold nothing."""
        text = self.text[self._held_from : end]
        if self._held:
            text = "".join(self._held) + text
        self.drop()
        return text

    def take_stripped(self, end: int) -> str:
        """Return the held text up to ``end``; whitespace before ``end`` stays held."""
        start = self._held_from or 0
        text_end = start + len(self.text[start:end].rstrip(WHITESPACE))
        if text_end > start:
            text = self.take(text_end)
            self.hold(text_end)
            return text
        earlier = "".join(self._held)
        text = earlier.rstrip(WHITESPACE)
        if text:
            self._held = [earlier[len(text) :]]
            self._held_length = len(earlier) - len(text)
        return text

    def rewind(self) -> None:
        """Read the held text again."""
        self.position = self._held_from or 0
        if self._held:
            self.text = "".join(self._held) + self.text
        self.drop()

    def wait(self, position: int) -> None:
        """Read the text from ``position`` on again when more has come."""
        self.carry = self.text[position:]
        self.text = self.text[:position]
        self.position = position

    def next_character(self) -> str:
        """Skip whitespace; return the character behind it, or "" at the delta's end."""
        text, position = self.text, self.position
        character = text[position : position + 1]
        if character in WHITESPACE:  # Or there is none: the empty string is in any.
            self.position = position = _whitespace(text, position).end()  # type: ignore[union-attr]
            character = text[position : position + 1]
        return character

    def is_at_tag(self) -> bool:
        """Whether a whole tag stands at the position."""
        return self.text.startswith(TAGS, self.position)

    def wait_for_tag(self) -> bool:
        """Wait if the text from the position on may become a tag; returns whether it may."""
        if unfinished_tag(self.text, self.position) != self.position:
            return False
        self.wait(self.position)
        return True
