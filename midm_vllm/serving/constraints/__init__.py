"""Constraints: the server's grammar backend, and the grammar of a request's answer."""
