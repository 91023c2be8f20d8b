"""Requests: rewriting their conversations, what they may call, and calls that they begin."""
