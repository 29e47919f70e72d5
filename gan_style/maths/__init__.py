"""Maths that methods share and that knows no method: descent over pixels, pyramids of scales."""
