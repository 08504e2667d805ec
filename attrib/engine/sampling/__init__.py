"""Points to evaluate at, drawn or chosen, and the moments of what is found there."""
