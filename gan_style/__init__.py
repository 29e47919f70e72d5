"""Unpaired domain translation with GANs, compared honestly with neural style transfer."""

__version__ = "0.1.0"
