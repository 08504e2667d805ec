"""One file per study: load, attribute, summarise, draw, write."""
