"""The parser of Mi:dm's tool-call markup: text in, events out. No vLLM, no I/O.

``reader`` (prose and blocks) and ``call_parser`` (the object of one call) decide
what is a call and what is text. They share a ``text_buffer`` and an
``event_writer``. ``accumulator`` sums up the ``events`` of a whole output.
"""

from midm_vllm.markup.events import ArgumentText, CallEnded, CallStarted, ContentText, Event
from midm_vllm.markup.reader import MarkupReader
from midm_vllm.markup.tags import CLOSING_TAG, OPENING_TAG

__all__ = [
    "CLOSING_TAG",
    "OPENING_TAG",
    "ArgumentText",
    "CallEnded",
    "CallStarted",
    "ContentText",
    "Event",
    "MarkupReader",
]
