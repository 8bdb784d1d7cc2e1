"""`POST /v1/embeddings`: texts in, vectors out, of engines or of the hot cache."""
