"""Datasets: bring known ones (download), look through a folder (check), draw toy ones (synth).

Of the package gan_style its commands and the start of a training import from here, nothing else.
"""
