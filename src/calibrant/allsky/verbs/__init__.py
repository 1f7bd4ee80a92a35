"""The verbs of `calibrant allsky`: thin, one file each."""
