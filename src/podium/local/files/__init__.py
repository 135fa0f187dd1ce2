"""A model's files: where they come from, and what they contain."""
