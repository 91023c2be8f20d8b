"""The text being read: the present delta, and what is held back of it and of earlier ones.

Nothing is decided here. What is held and when it is given out, as what, is for
those who read: ``call_parser`` inside the object of one call, ``reader`` outside.
"""

from __future__ import annotations

from midm_vllm.markup.events import ContentText, Event
from midm_vllm.markup.tags import WHITESPACE


class HeldText:
    """A delta with a reading position, held text, and the events it has led to."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        # The delta being read, and how far.
        self._text = ""
        self._position = 0
        # The end of the last delta, where it may be part of a tag or an escape.
        self._carry = ""
        # Held text: pieces of earlier deltas, and where it begins or, if there
        # are such pieces, goes on in this one.
        self._held: list[str] = []
        self._held_from: int | None = None
        # Whether a block has ended and no content come since.
        self._after_block = False

    @property
    def held_pieces(self) -> int:
        """In how many pieces text is held, between two deltas."""
        return len(self._held)

    @property
    def held_length(self) -> int:
        """How many characters are held, between two deltas; adds up the pieces."""
        return sum(map(len, self._held)) + len(self._carry)

    def _hold(self, position: int) -> None:
        if self._held_from is None:
            self._held_from = position

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_from = None

    def _release(self, end: int) -> None:
        """What was held, and the text on to ``end``, is content."""
        self._content("".join(self._held) + self._text[self._held_from : end])
        self._drop_held()

    def _release_text(self, end: int) -> None:
        """The same, but for the whitespace before ``end``, which a block may follow."""
        start = self._held_from or 0
        text_end = start + len(self._text[start:end].rstrip(WHITESPACE))
        if text_end > start:
            self._release(text_end)
            self._hold(text_end)
        elif self._held:
            earlier = "".join(self._held)
            text = earlier.rstrip(WHITESPACE)
            self._content(text)
            self._held = [earlier[len(text) :]]

    def _wait(self, position: int) -> None:
        """Read from ``position`` again when more has come."""
        self._carry = self._text[position:]
        self._text = self._text[:position]
        self._position = position

    def _content(self, text: str) -> None:
        if text:
            self._after_block = False
            self._events.append(ContentText(text))
