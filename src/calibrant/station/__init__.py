"""The VLBI station: amplitude calibration from Field System logs to receiver gain files and antab.

    from calibrant.station.load import load
    points = load(["r1730ny.log"], rxg=["nyx.rxg"]).points

Nothing here needs a Field System, a network or a browser.
"""
