"""Images, and collections of them, as a stream."""
