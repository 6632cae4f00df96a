"""Rerankers: something that looks at the first hits and puts them in a better order."""
