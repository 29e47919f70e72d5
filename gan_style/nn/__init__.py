"""Network parts: generators, discriminators, the image pool and what they are built from."""
