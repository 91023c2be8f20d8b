"""Which calls the model can write: the grammar of its markup (``structural_tag``), of a tool's
arguments (``arguments_grammar``), and of the strings in them (``json_string_pattern``).

Nothing here reads an output. Imported by the parser, never by registering it.
"""
