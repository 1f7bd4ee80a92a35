"""What a simulated station is: site, receiver, detectors, and the options that say what happens during the log.

The receivers are invented but plausible for a 32 m antenna; positions of sources are J2000, rounded to a second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibrant.errors import ParameterError
from calibrant.registry import unknown
from calibrant.station.curve import GainCurve
from calibrant.station.records import Site

Floats = NDArray[np.float64]

POLS = ("l", "r")
MODES = ("switched", "continuous", "none")
FORMS = ("new", "old")
RACKS = ("dbbc", "vc", "dbbc3")
SPOILS = ("rfi", "pointing", "compression", "jump", "overflow", "nodiode", "abort", "partial")
WRONG = ("tcal", "gain", "trec")

SOURCES: dict[str, tuple[str, str]] = {
    "casa": ("232324.8", "+584859."),
    "cygnusa": ("195928.4", "+404402."),
    "taurusa": ("053432.0", "+220058."),
    "virgoa": ("123049.4", "+122328."),
    "3c48": ("013741.3", "+330935."),
    "3c84": ("031948.2", "+413042."),
    "3c123": ("043704.4", "+294014."),
    "3c147": ("054236.1", "+495107."),
    "3c161": ("062710.1", "-055305."),
    "3c218": ("091805.7", "-120544."),
    "3c286": ("133108.3", "+303033."),
    "3c295": ("141120.5", "+521209."),
    "3c353": ("172028.2", "-005847."),
    "dr21": ("203901.3", "+421933."),
    "ngc7027": ("210701.6", "+421410."),
}
"""Right ascension hhmmss.s and declination +ddmmss. of the calibrators that can be simulated."""

TARGETS: dict[str, tuple[str, str]] = {
    "0059+581": ("010245.8", "+582411."),
    "3c418": ("203837.0", "+511913."),
    "1803+784": ("180045.7", "+782804."),
    "j2253+1608": ("225357.7", "+160854."),
}
"""Sources of the VLBI scans between the ONOFFs."""


@dataclass(frozen=True)
class Band:
    """A receiver as it truly is. K, K/Jy, MHz, degrees; the curve has its maximum 1."""

    name: str
    kind: Literal["fixed", "range"]
    rxg_lo_mhz: tuple[float, ...]
    lo_mhz: float
    if_mhz: tuple[float, float]
    dpfu: dict[str, float]
    curve: GainCurve
    trec_k: dict[str, float]
    spill_elevation: tuple[float, ...]
    spill_k: tuple[float, ...]
    tcal_k: float
    tau: float
    sources: tuple[str, ...]


def parabola(peak_deg: float, bend: float) -> GainCurve:
    """1 - bend (el - peak)^2 as an ELEV curve."""
    return GainCurve("elev", (1.0 - bend * peak_deg**2, 2.0 * bend * peak_deg, -bend))


BANDS: dict[str, Band] = {
    "C": Band(
        "C", "range", (3800.0, 5200.0), 4200.0, (500.0, 1000.0), {"l": 0.140, "r": 0.131}, parabola(47.0, 4.0e-5),
        {"l": 22.0, "r": 25.0}, (5.0, 30.0, 60.0, 90.0), (9.0, 4.0, 3.0, 2.5), 3.2, 0.011,
        ("3c123", "cygnusa", "virgoa", "casa"),
    ),
    "X": Band(
        "X", "fixed", (8080.0, ), 8080.0, (100.0, 900.0), {"l": 0.130, "r": 0.125}, parabola(45.0, 6.0e-5),
        {"l": 31.0, "r": 28.0}, (5.0, 30.0, 60.0, 90.0), (11.0, 5.0, 3.0, 3.0), 6.0, 0.018,
        ("3c123", "cygnusa", "virgoa", "casa"),
    ),
    "K": Band(
        "K", "range", (17500.0, 25500.0), 21500.0, (500.0, 1500.0), {"l": 0.118, "r": 0.114}, parabola(50.0, 1.3e-4),
        {"l": 46.0, "r": 51.0}, (10.0, 50.0, 90.0), (12.0, 7.0, 5.0), 27.0, 0.085,
        ("dr21", "3c123", "ngc7027"),
    ),
}  # fmt: skip

SITE = Site("CALIBRAN", "Cb", longitude_deg=14.99, latitude_deg=44.52, height_m=143.2, diameter_m=32.0)


@dataclass(frozen=True)
class Detector:
    """One detector of the backend. `centre_mhz`: sky frequency for each tuning; counts = zero + counts_per_k P."""

    name: str
    if_chain: str
    pol: str
    centre_mhz: tuple[float, ...]
    if_mhz: tuple[float, ...]
    bandwidth_mhz: float
    zero: float
    counts_per_k: float
    is_if: bool = False
    diode: bool = True


@dataclass(frozen=True)
class Options:
    """What to simulate. Everything is decided by these and by `seed`."""

    seed: int = 1
    name: str = "sim001cb"
    band: str = "C"
    mode: str = "switched"
    form: str = "new"
    rack: str = "dbbc"
    sources: tuple[str, ...] = ()
    """Empty: those of the band."""
    start: float = 1_718_474_400.0
    """Seconds since 1970 UTC (2024-06-15 18:00)."""
    hours: float = 12.0
    interval_min: float = 15.0
    repetitions: int = 2
    integration: int = 5
    """Samples of a second per level; 1 prints whole counts without rms."""
    detectors: int = 4
    """Converters per polarisation, besides the IF detector of each."""
    tunings: int = 1
    """Sets of converter frequencies, used in turn: they sample Tcal(frequency)."""
    elevation: tuple[float, float] = (10.0, 85.0)
    noise: float = 1.0
    """Factor on all random noise; 0: levels are exact, and not rounded to whole counts before they are averaged."""
    fluctuation: float = 4e-4
    """Relative rms of the receiver gain from one level to the next."""
    drift: float = 0.05
    """Amplitude of the receiver gain over six hours, relative."""
    tau: float = -1.0
    """Zenith opacity at the start; negative: the band's."""
    tau_change: float = 0.3
    """Relative amplitude of the opacity's slow change, in a period of twelve hours."""
    tau_scatter: float = 0.03
    """Relative rms of the opacity's fast changes, in periods of 20 to 90 minutes."""
    tatm_k: float = 273.0
    opacity_corrected: bool = True
    """The gain curve has no atmosphere in it, and the source is seen through e^-tau."""
    curve: GainCurve | None = None
    """The true gain curve, its maximum 1; None: the band's."""
    pointing: float = 0.0
    """Rms of the pointing error of every scan, in beams."""
    moving: bool = True
    """Source and atmosphere change while ONOFF runs; else all levels belong to the elevation that VAL prints."""
    flux_error: float = 0.0
    """Rms of the flux table's relative error, one for each source."""
    wrong: tuple[str, ...] = ("tcal", "trec")
    """What the rxg file has wrong."""
    spoil: tuple[str, ...] = ()
    spoil_fraction: float = 0.15
    """Share of the scans that something happens to."""
    vlbi: bool = True
    """VLBI scans with Tsys records between the ONOFFs."""
    fivpt: bool = True
    weather_s: float = 60.0
    site: Site = field(default=SITE)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("band", self.band, tuple(BANDS)), ("mode", self.mode, MODES), ("form", self.form, FORMS),
            ("rack", self.rack, RACKS), *(("source", source, tuple(SOURCES)) for source in self.sources),
            *(("spoil", kind, SPOILS) for kind in self.spoil), *(("wrong", kind, WRONG) for kind in self.wrong),
        ):  # fmt: skip
            if value not in known:
                raise ParameterError(unknown(name, value, known))
        if not re.fullmatch(r"[A-Za-z0-9_+-]{3,32}", self.name):
            raise ParameterError(f"name: found {self.name!r}, expected 3 to 32 letters, digits, _ + or -. Change it.")
        if self.rack == "vc" and self.mode == "continuous":
            raise ParameterError("mode: found continuous with rack vc, expected dbbc or dbbc3: vc cannot do it.")
        most = 7 if self.rack == "vc" else 8
        for name, number, low, high in (
            ("hours", self.hours, 0.05, 24 * 366), ("interval_min", self.interval_min, 1.0, 1440.0),
            ("repetitions", self.repetitions, 1, 100), ("integration", self.integration, 1, 100),
            ("detectors", self.detectors, 1, most), ("tunings", self.tunings, 1, 50),
            ("spoil_fraction", self.spoil_fraction, 0.0, 1.0), ("tau_change", self.tau_change, 0.0, 0.7),
            ("tau_scatter", self.tau_scatter, 0.0, 0.1), ("noise", self.noise, 0.0, 1000.0),
        ):  # fmt: skip
            if not low <= number <= high:
                raise ParameterError(f"{name}: found {number:g}, expected {low:g} to {high:g}. Change it.")

    @property
    def receiver(self) -> Band:
        """The band with the options' curve, opacity and flag."""
        band = BANDS[self.band]
        curve = replace(self.curve or band.curve, opacity_corrected=self.opacity_corrected)
        return replace(band, curve=curve, tau=band.tau if self.tau < 0 else self.tau)

    @property
    def lead_s(self) -> float:
        """From the start of a slot to the start of its ONOFF."""
        return 130.0 if self.fivpt else 30.0

    @property
    def observed(self) -> tuple[str, ...]:
        return self.sources or BANDS[self.band].sources


def detectors(options: Options) -> tuple[Detector, ...]:
    """Converters of both polarisations and an IF detector for each, in the order in which FS lists them."""
    band = options.receiver
    low, high = band.if_mhz
    width = {"dbbc": 16.0, "vc": 8.0, "dbbc3": 64.0}[options.rack]
    spacing = (high - low - width) / options.detectors
    zeros = (760.0, 90.0) if options.rack == "vc" else (0.0, 0.0)
    tsys = float(np.mean(list(band.trec_k.values()))) + 15.0
    result: list[Detector] = []
    for chain, pol in enumerate(POLS):
        for number in range(options.detectors):
            tuned = tuple(low + spacing * (number + (k + 0.5) / options.tunings) for k in range(options.tunings))
            centres = tuple(round(band.lo_mhz + f + width / 2, 2) for f in tuned)
            name = _converter_name(options.rack, chain, number)
            zero = zeros[0] + 57.0 * len(result) if zeros[0] else 0.0
            counts = (14000.0 + 350.0 * len(result)) / tsys
            result.append(Detector(name, str(chain + 1), pol, centres, tuned, width, zero, counts))
    for chain, pol in enumerate(POLS):
        centre = (round(band.lo_mhz + (low + high) / 2, 2),) * options.tunings
        name = f"i{chain + 1}" if options.rack == "vc" else f"i{'ab'[chain]}"
        has_diode = options.mode == "switched"
        result.append(
            Detector(name, str(chain + 1), pol, centre, (), high - low, zeros[1], 4500.0 / tsys, True, has_diode)
        )
    if "nodiode" in options.spoil:
        result.append(Detector("u5", "5", "l", centre, (), high - low, 0.0, 170.0 / tsys, True, False))
    return tuple(replace(det, diode=False) for det in result) if options.mode == "none" else tuple(result)


def _converter_name(rack: str, chain: int, number: int) -> str:
    if rack == "dbbc3":
        return f"{8 * chain + number + 1:03d}u"
    return f"{(7 if rack == 'vc' else 8) * chain + number + 1:x}u"
