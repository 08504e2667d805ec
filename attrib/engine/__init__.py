"""What the methods are made of: torch only, tensors in, tensors out."""
