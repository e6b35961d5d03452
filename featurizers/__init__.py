"""Feature vectors from compositions and crystal structures."""
