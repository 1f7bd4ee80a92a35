"""The verbs of `calibrant station`: thin, one file each."""
