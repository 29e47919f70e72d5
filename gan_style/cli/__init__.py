"""The commands, a file each; importing them needs no torch."""
