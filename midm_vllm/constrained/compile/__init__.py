"""JSON schemas compiled to what llguidance enforces, and validated with it."""
