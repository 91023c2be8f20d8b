"""Regular expressions of JSON schemas, translated to the dialect that llguidance reads."""
