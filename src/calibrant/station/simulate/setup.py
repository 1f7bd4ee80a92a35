"""The lines at the start of a simulated log, and those that tune the backend."""

from __future__ import annotations

from datetime import UTC, datetime

from calibrant.station.simulate.truth import Truth

Line = tuple[float, str]
RELEASES = {"dbbc": "9.13.2", "vc": "9.11.7", "dbbc3": "10.1.0"}
RACK_NAMES = {"dbbc": "dbbc_ddc", "vc": "mk4", "dbbc3": "dbbc3_ddc_u"}


def release(truth: Truth) -> str:
    """The Field System version that prints records of this form for this backend."""
    return "9.8.5" if truth.options.form == "old" else RELEASES[truth.options.rack]


def header(truth: Truth, time: float) -> list[Line]:
    """Log opened, location (longitude positive to the west), antenna, equipment; then the set-up procedure."""
    options, site = truth.options, truth.options.site
    west = -site.longitude_deg % 360.0
    version = release(truth)
    texts = [f";Log Opened: Mark IV Field System Version {version}"]
    texts += [f";release,{version}"] if options.rack == "dbbc" and options.form == "new" else []
    texts += [
        f";location,{site.name},{west:.2f},{site.latitude_deg:.2f},{site.height_m:.1f}",
        ";horizon1,0.,5.,360.",
        f";antenna,{site.diameter_m:.1f},40.0,30.0,-270.0,270.0,4.0,88.0,azel",
        f";equip,{RACK_NAMES[options.rack]},mk5b_bs,none,none,500.10,3,a/d,101,60,20,none,40,1,in,8bit,cdp,3,return,"
        "v104,v12,4,15000,15000,15000,32",
        ";time,-5.516,1.044,rate",
        ";flagr,200",
        f':" {options.name[:-2].upper():<9} {datetime.fromtimestamp(options.start, UTC):%Y} {site.name:<8} '
        f"H {site.code}",
        ':" simulated by calibrant station simulate; the truth is in truth.json',
        ":setup01",
        "&setup01/tpicd=stop",
        "&setup01/dbbc01",
        "&setup01/ifd01",
        f"&setup01/cont_cal={'on,2' if options.mode == 'continuous' else 'off'}",
    ]
    lines = [(time, text) for text in texts]
    lines += converters(truth, 0, time + 0.5)
    return lines + [(time + 1.0, text) for text in _local_oscillators(truth)]


def _local_oscillators(truth: Truth) -> list[str]:
    lo = truth.band.lo_mhz
    names = ("lo1", "lo2") if truth.options.rack == "vc" else ("loa", "lob")
    lines = ["&ifd01/lo="]
    for name, pol in zip(names, "lr", strict=True):
        lines.append(f"&ifd01/lo={name},{lo:.2f},usb,{pol}cp,{'1' if truth.options.rack == 'vc' else 'off'}")
    if truth.options.rack == "vc":
        lines.append("&ifd01/patch=")
        for chain, name in enumerate(names):
            mine = [det for det in truth.detectors if det.if_chain == str(chain + 1) and not det.is_if]
            lines.append(f"&ifd01/patch={name}," + ",".join(f"{int(det.name[:-1], 16)}h" for det in mine))
    return lines


def converters(truth: Truth, tuning: int, time: float) -> list[Line]:
    """Frequencies of the converters for one of the tunings."""
    lines = []
    for det in truth.detectors:
        if det.is_if:
            continue
        freq, width, chain = det.if_mhz[tuning], det.bandwidth_mhz, "ab"[int(det.if_chain) - 1]
        if truth.options.rack == "vc":
            text = f"vc{int(det.name[:-1], 16):02d}={freq:.2f},{width:.3f},u"
        elif truth.options.rack == "dbbc3":
            text = f"bbc{int(det.name[:-1]):03d}={freq:.2f},{chain},{width:.2f}"
        else:
            text = f"bbc{int(det.name[:-1], 16):02d}={freq:.2f},{chain},{width:.2f}"
        lines.append((time, f"&dbbc{tuning + 1:02d}/{text}"))
    return lines
