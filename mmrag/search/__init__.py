"""Search, and answers from the hits."""
