"""JSON Schema: keywords, drafts, and what schemas mean together (intersection, negation)."""
