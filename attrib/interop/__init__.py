"""Arrays and models of other libraries."""
