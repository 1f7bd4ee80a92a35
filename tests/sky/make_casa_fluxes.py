"""Makes casa_fluxes.json: the flux densities that CASA's setjy gives for every source of every standard.

    CASA_PYTHON tests/sky/make_casa_fluxes.py SCRATCH_COPY_OF_tiny.ms tests/sky/casa_fluxes.json

It renames field 0 of the copy, moves it, moves the three spectral windows to the wanted frequencies and TIME to
the wanted epoch, and asks setjy(usescratch=False), whose answer is the flux density at the first channel.
Made with casatasks 6.7.6.14 and casadata 2025.9.22.
"""

import json
import sys

import numpy as np
from casatasks import casalog, setjy
from casatools import ctsys, table

MS, OUT = sys.argv[1:3]
COMMON = ["3C48", "3C138", "3C147", "3C286", "3C295"]
SOURCES = {
    "Perley-Taylor 99": [*COMMON, "1934-638"],
    "Perley-Butler 2013": [*COMMON, "3C123", "3C196"],
    "Scaife-Heald 2012": ["3C48", "3C147", "3C196", "3C286", "3C295", "3C380"],
    "Perley-Butler 2017": [
        *COMMON, "3C123", "3C196", "3C353", "3C380", "3C444", "J0133-3629", "J0444-2809", "FORNAX_A", "PICTOR_A",
        "TAURUS_A", "HYDRA_A", "VIRGO_A", "HERCULES_A", "CYGNUS_A", "CASSIOPEIA_A",
    ],
}  # fmt: skip
FREQUENCIES = [0.05e9, 0.074e9, 0.15e9, 0.33e9, 1.41342e9, 4.86e9, 9.99e9, 10.01e9, 43.34e9]
VARIABLE = ("3C48", "3C138", "3C147")
YEARS = [1983.4, 1985.9, 1987.3, 1989.9, 1995.2, 1998.1, 1999.3, 2000.8, 2001.9, 2003.1, 2004.7, 2006.0, 2007.4, 2008.7,
         2010.0, 2010.9, 2012.0, 2017.0]  # fmt: skip
"""Epochs of the variable sources. CASA is asked 0.2 years after each, before the first, and in 2014.7."""
EPOCHS = [51544.5 + (year - 2000) * 365.25 for year in (1980.0, *(year + 0.2 for year in YEARS), 2014.7, 2024.6)]
"""MJD (days)."""
NAMES = ["1331+30500002_0", "J1331+3030=3C286", "3C 286", "3c286_bp", "0137+331=3C48", "3C_147", "CasA", "TAU-A", "m87"]
"""Field names offered at a position that is nowhere near a calibrator: does CASA know them?"""
OFFSETS = [0.5, 0.9, 1.1, 5.0]
"""Arcseconds from 3C286 with a name that says nothing."""

tb = table()
casalog.filter("SEVERE")


def put(name, column, row, value):
    tb.open(f"{MS}/{name}", nomodify=False)
    tb.putcell(column, row, value)
    tb.close()


def ask(standard, field, direction, frequencies, mjd):
    put("FIELD", "NAME", 0, field)
    for column in ("PHASE_DIR", "DELAY_DIR", "REFERENCE_DIR"):
        put("FIELD", column, 0, np.array(direction).reshape(2, 1))
    tb.open(MS, nomodify=False)
    tb.putcol("TIME", np.full(tb.nrows(), mjd * 86400.0))
    tb.close()
    result = []
    for start in range(0, len(frequencies), 3):
        for spw, freq in enumerate(frequencies[start : start + 3]):
            put("SPECTRAL_WINDOW", "CHAN_FREQ", spw, freq + WIDTH[spw])
        answer = setjy(MS, field="0", standard=standard, usescratch=False)
        result += [float(answer["0"][str(spw)]["fluxd"][0]) for spw in range(3)]
    return result


tb.open(f"{MS}/SPECTRAL_WINDOW")
WIDTH = [tb.getcell("CHAN_FREQ", spw) * 0 + 1e3 * np.arange(tb.getcell("NUM_CHAN", spw)) for spw in range(3)]
tb.close()
tb.open(ctsys.resolve("nrao/VLA/standards/fluxcalibrator.data"))
where = {
    tb.getcell("Name", row): (tb.getcell("RA_J2000", row), tb.getcell("Dec_J2000", row)) for row in range(tb.nrows())
}
tb.close()
where["J0133-3629"] = where.pop("0133-3629")

fluxes = []
for standard, sources in SOURCES.items():
    for source in sources:
        variable = source in VARIABLE and standard.startswith("Perley-Butler")
        for mjd in EPOCHS if variable else [52931.0]:
            jy = ask(standard, source, where[source], FREQUENCIES, mjd)
            rounded = [float(f"{value:.9g}") for value in jy]
            fluxes.append({"standard": standard, "source": source, "mjd": mjd, "jy": rounded})
known = {}
for name in NAMES:
    jy = ask("Perley-Butler 2017", name, (0.1, 0.2), FREQUENCIES[3:6], 60537.2)
    known[name] = None if jy[1] in (0.0, 1.0) or jy[0] == 1.0 else jy
near = {}
for arcsec in OFFSETS:
    ra, dec = where["3C286"]
    jy = ask("Perley-Butler 2017", "BP", (ra, dec + arcsec / 206264.806), FREQUENCIES[3:6], 60537.2)
    near[str(arcsec)] = None if jy[0] == 1.0 else jy
positions = {name: [float(ra), float(dec)] for name, (ra, dec) in where.items()}
lines = ",\n".join(json.dumps(item) for item in fluxes)
with open(OUT, "w") as file:
    head = {"how": __doc__, "frequencies_hz": FREQUENCIES, "positions_rad": positions, "names": known,
            "names_hz": FREQUENCIES[3:6], "offsets_arcsec": near}  # fmt: skip
    file.write(json.dumps(head, indent=1)[:-2] + ',\n"fluxes": [\n' + lines + "\n]}\n")
