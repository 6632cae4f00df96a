"""Vectors of a gallery in Milvus: indexing, searching, and the local store."""
