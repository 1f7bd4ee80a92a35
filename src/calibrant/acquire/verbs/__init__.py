"""The verbs of `calibrant acquire`: one file each."""
