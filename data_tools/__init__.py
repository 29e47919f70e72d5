"""Datasets: bring known ones (download), look through a folder (check), draw toy ones (synth).

The package gan_style imports nothing from here.
"""
