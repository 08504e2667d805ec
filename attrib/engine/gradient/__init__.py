"""Gradients of scores at many rows, in chunks that fit the memory."""
