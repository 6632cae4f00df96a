"""Search, and answers from what was found."""
