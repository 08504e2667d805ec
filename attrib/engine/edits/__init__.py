"""Edits of an input: what is replaced, and what that does to the score."""
