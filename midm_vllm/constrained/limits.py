"""All limits of JSON schemas. None may be passed by what a request sends."""

from __future__ import annotations

#: What the schemas of a request may cost together. A schema inside a schema is one node, and so
#: are 8 values of an enumeration, 20 characters of a pattern, 500 of anything. Others that take
#: llguidance long are several. A node takes 50 microseconds: two thirds of them llguidance's,
#: by which vLLM has a request's grammar validated again.
MAX_NODES = 1500
#: What a tool costs beside its schema's nodes.
NODES_PER_TOOL = 4
#: Characters of a schema that cost a node.
CHARACTERS_PER_NODE = 500
#: The size of the cache of compiled schemas, in characters.
CACHE_SIZE = 20_000_000
