"""From a field's raw data to labelled inputs, and what only that field needs."""
