"""Edits of an input: the features that are replaced, and the change of the score."""
