"""Which calls the model can write: the grammar of an answer (``build_call_grammar``), and what of a
tool's schema it holds the arguments to (``tool_schema``, the one place to ask).

Nothing here reads an output. Imported by the parser, never by registering it.
"""
