"""All limits of JSON schemas. None may be passed by what a request sends."""

from __future__ import annotations

#: What the schemas of a request may cost together. A schema inside a schema is one node, and so
#: are 8 values of an enumeration, 20 characters of a pattern, 500 of anything. Others that take
#: llguidance long are several. A node takes 50 microseconds: two thirds of them llguidance's,
#: by which vLLM has a request's grammar validated again.
MAX_NODES = 1500
#: What a tool costs beside its schema's nodes.
NODES_PER_TOOL = 4
#: Characters of a schema that cost a node, and its parts that may be read for one.
CHARACTERS_PER_NODE = 500
NORMALIZED_PER_NODE = 4
#: Parts of schemas behind references that may be compared for a node.
COMPARED_PER_NODE = 12
#: Characters of the name of a resource.
MAX_ID_LENGTH = 300
#: The size of the cache of compiled schemas, in characters.
CACHE_SIZE = 20_000_000

# Regular expressions.

MAX_PATTERN_LENGTH = 30_000
MAX_GROUP_DEPTH = 50
#: Characters of a name that tell it from others.
MAX_NAME_LENGTH = 40
CHARACTERS_OF_PATTERN_PER_NODE = 20
#: llguidance reads each twice: alone, and with the whole schema.
NODES_PER_PATTERN = 3
#: What a class of Unicode's (``\p{L}``, also in ``\W``) costs beside.
NODES_PER_UNICODE_CLASS = 10
#: What a pattern costs that llguidance rejects, beside its characters.
NODES_PER_REJECTED = 4

# Schemas and their parts.

MAX_DEPTH = 48
#: More than that nobody reads, and each is a line in the log.
MAX_FINDINGS = 50
#: How many flat schemas one becomes.
MAX_ALTERNATIVES = 200
MAX_BRANCHES = 1000
#: Strings with conditions among the branches of one choice: the lexer follows them all at once.
MAX_STRINGS = 32
#: ``oneOf`` is made exclusive pair by pair up to as many schemas.
MAX_EXCLUSIVE_BRANCHES = 16
#: References that are followed to intersect what they mean with what stands beside them.
MAX_FOLLOWED = 8
#: Parts of a document in which schemas are looked for that references mean by another name than
#: their place.
MAX_CRAWLED = 10_000
#: When schemas are compared: how deep, and how many branches, names or members of one.
MAX_COMPARISON_DEPTH = 6
MAX_BRANCHES_COMPARED = 64
MAX_VALUES_EXCLUDED = 256

# Values.

#: Integers beyond are not told apart by everybody.
EXACT_INTEGER = 2**53
EXACT_FLOAT = 1e15
VALUES_PER_NODE = 8
#: Of characters and members.
MAX_COUNTED = 50_000
MAX_ITEMS = 5_000
#: What llguidance's parser and lexer can have open at once, with room to spare.
MAX_OPTIONAL_MEMBERS = 400
#: Names longer than this together are not told apart from other members' names.
MAX_NAMES = 2_000
#: Ways to choose a number of members.
MAX_MEMBER_CHOICES = 64

# What llguidance is asked about.

#: Larger schemas are validated whatever they consist of.
MAX_UNVALIDATED_NODES = 300
MAX_UNVALIDATED_CHARACTERS = 20_000
#: llguidance reads JSON of 128 levels; a schema is written as up to four.
MAX_UNVALIDATED_DEPTH = 20
#: A grammar's text, in characters for each node that a request may cost.
GRAMMAR_CHARACTERS_PER_NODE = 150
