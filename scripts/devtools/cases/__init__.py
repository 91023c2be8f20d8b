"""Test data: outputs with what is read of them, and JSON schemas."""
