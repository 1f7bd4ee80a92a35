"""The VLBI station: amplitude calibration from Field System logs to receiver gain files and antab.

    from calibrant import station
    log = station.read_log("r1730ny.log")

Nothing here needs a Field System, a network or a browser.
"""
