"""The listing of a MeasurementSet as text, in the sections and with the words of CASA's listobs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from calibrant.ms.listobs import DAY, FRAMES, Listing, ScanLine, Source, array_centre, geodetic, local_offsets
from calibrant.ms.selection_time import MJD_EPOCH, MONTHS

WIDTH = 100
VLBI_EXTENT = 1e6
"""Arrays larger than this (m) have no common horizon: offsets are not listed."""


def listing_text(listing: Listing, verbose: bool = True) -> str:
    """The whole listing; without `verbose` no scans, sources and antenna positions."""
    parts = [_head(listing)]
    if verbose:
        parts.append(_scans(listing))
    parts += [_fields(listing), _spws(listing)]
    if verbose:
        parts += [_sources(listing), _antennas(listing)]
    else:
        names = " ".join(listing.index.antennas.name[i] for i in listing.antennas)
        parts.append(textwrap.fill(f"Antennas: {len(listing.antennas)}: {names}", WIDTH, subsequent_indent="  "))
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """Lines of a table: columns two blanks apart, as wide as they need to be; `right` has 'r' for right-aligned."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    sides = right.ljust(len(header), "l")
    lines = []
    for row in [header, *rows]:
        cells = [c.rjust(w) if side == "r" else c.ljust(w) for c, w, side in zip(row, widths, sides, strict=True)]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _head(listing: Listing) -> str:
    first = listing.observations[0] if listing.observations else None
    lines = [
        "=" * WIDTH,
        f"           MeasurementSet Name:  {listing.index.path}      MS Version 2",
        "=" * WIDTH,
    ]
    if first is not None:
        lines.append(f"   Observer: {first.observer}     Project: {first.project}")
        lines.append(f"Observation: {first.telescope}")
    if len(listing.observations) > 1:
        rows = [
            [str(i), o.telescope, _date_time(o.time_range[0]), _date_time(o.time_range[1]), o.observer, o.project]
            for i, o in enumerate(listing.observations)
        ]
        lines += ["", *_table(["ID", "Telescope", "From", "To", "Observer", "Project"], rows, "r")]
    lines.append(f"Data records: {listing.nrow}       Total elapsed time = {listing.end - listing.begin:g} seconds")
    begin, end = _date_time(listing.begin), _date_time(listing.end)
    lines.append(f"   Observed from   {begin}   to   {end} ({listing.timeref})")
    return "\n".join(lines)


def _scans(listing: Listing) -> str:
    header = ["Date        Timerange", "Scan", "FldId", "FieldName", "nRows", "SpwIds", "Average Interval(s)"]
    header[0] += f" ({listing.timeref})"
    lines: list[str] = []
    for obs, array in dict.fromkeys((line.observation, line.array) for line in listing.scans):
        own = [line for line in listing.scans if (line.observation, line.array) == (obs, array)]
        rows = [_scan_cells(listing, line, own[k - 1] if k else None) for k, line in enumerate(own)]
        table = _table(header, rows, "lrrlrll")
        lines += ["", f"   ObservationID = {obs}         ArrayID = {array}", table[0]]
        for text, line in zip(table[1:], own, strict=True):
            lines += [text, *_intents(line)]
    return "\n".join([*lines, "           (nRows = total number of rows per scan; intents below their scan)"])


def _scan_cells(listing: Listing, line: ScanLine, previous: ScanLine | None) -> list[str]:
    begin, end = _date_time(line.begin), _date_time(line.end)
    date, clock = begin.split("/")
    same_day = previous is not None and _date_time(previous.begin).startswith(date)
    last = end.split("/")[1] if end.startswith(date) else end
    return [
        (" " * 12 if same_day else f"{date}/") + f"{clock} - {last}",
        str(line.scan),
        str(line.field),
        listing.index.fields.name[line.field],
        str(line.nrow),
        "[" + _spans(line.spws) + "]",
        _intervals(line.intervals),
    ]


def _intervals(seconds: list[float]) -> str:
    """'[6.05, 6.05, 1.92]', or '[6.05] each' where all spectral windows have the same."""
    shown = [f"{value:.3g}" for value in seconds]
    if len(shown) > 2 and len(set(shown)) == 1:
        return f"[{shown[0]}] each"
    return "[" + ", ".join(shown) + "]"


def _spans(ids: Sequence[int]) -> str:
    """'0,1,2' up to four ids, then with ranges: '0~5,9'."""
    if len(ids) <= 4:
        return ",".join(map(str, ids))
    cuts = [k for k in range(1, len(ids)) if ids[k] != ids[k - 1] + 1]
    spans = [ids[a:b] for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    return ",".join(f"{s[0]}~{s[-1]}" if len(s) > 1 else str(s[0]) for s in spans)


def _intents(line: ScanLine) -> list[str]:
    if not line.intents:
        return []
    return textwrap.wrap(
        "[" + ", ".join(line.intents) + "]", WIDTH, initial_indent=" " * 14, subsequent_indent=" " * 15,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _fields(listing: Listing) -> str:
    fields = listing.index.fields
    rows = [
        [
            str(i),
            fields.code[i],
            fields.name[i],
            _sexagesimal(fields.direction[i, 0] % (2 * np.pi) * 12 / np.pi, ":", 6, sign=False),
            _sexagesimal(np.degrees(fields.direction[i, 1]), ".", 5, sign=True),
            listing.epoch,
            str(fields.source_id[i]),
            str(count),
        ]
        for i, count in listing.rows_by_field.items()
    ]
    table = _table(["ID", "Code", "Name", "RA", "Decl", "Epoch", "SrcId", "nRows"], rows, "rlllllrr")
    return "\n".join([f"Fields: {len(rows)}", *table])


def _spws(listing: Listing) -> str:
    spws, setups = listing.spws, {tuple(c) for spw in listing.spws for c in listing.corrs(spw)}
    bbc = listing.index.subtable("SPECTRAL_WINDOW").get("BBC_NO")
    rows = []
    for i in spws:
        spw = listing.index.spws[i]
        frame = FRAMES[spw.frame] if 0 <= spw.frame < len(FRAMES) else "Undefined"
        cells = [str(i), spw.name or "none", str(spw.nchan), frame, f"{spw.freq[0] / 1e6:.3f}"]
        cells += [f"{spw.width[0] / 1e3:.3f}", f"{spw.total_bandwidth / 1e3:.1f}"]
        low, high = (spw.freq - np.abs(spw.width) / 2).min(), (spw.freq + np.abs(spw.width) / 2).max()
        cells.append(f"{(low + high) / 2e6:.4f}")
        cells += [] if bbc is None else [str(bbc[i])]
        rows.append([*cells, "; ".join(" ".join(names) for names in listing.corrs(i))])
    header = ["SpwID", "Name", "#Chans", "Frame", "Ch0(MHz)", "ChanWid(kHz)", "TotBW(kHz)", "CtrFreq(MHz)"]
    header += [] if bbc is None else ["BBC Num"]
    count = f"({len(spws)} unique spectral windows and {len(setups)} unique polarization setups)"
    table = _table([*header, "Corrs"], rows, "rlrlrrrr" + ("" if bbc is None else "r"))
    return "\n".join([f"Spectral Windows:  {count}", *table])


def _sources(listing: Listing) -> str:
    if not listing.sources:
        return "The SOURCE table is empty: see the FIELD table"
    rows = [_source_cells(source) for source in listing.sources]
    table = _table(["ID", "Name", "SpwId", "RestFreq(MHz)", "SysVel(km/s)"], rows, "rlrrr")
    return "\n".join([f"Sources: {len(rows)}", *table])


def _source_cells(source: Source) -> list[str]:
    rest = "-" if source.rest_frequency is None else f"{source.rest_frequency / 1e6:.6f}"
    velocity = "-" if source.velocity is None else f"{source.velocity / 1e3:g}"
    return [str(source.id), source.name, "any" if source.spw < 0 else str(source.spw), rest, velocity]


def _antennas(listing: Listing) -> str:
    antennas = listing.index.antennas
    ids = listing.antennas
    positions = antennas.position[ids]
    lon, lat = geodetic(positions)
    telescope = listing.observations[0].telescope if listing.observations else ""
    offsets = local_offsets(positions, array_centre(telescope, antennas.position))
    near = np.abs(offsets).max() < VLBI_EXTENT
    rows = []
    for k, i in enumerate(ids):
        cells = [str(i), antennas.name[i], antennas.station[i], f"{antennas.diameter[i]:.1f} m"]
        cells.append(_sexagesimal((np.degrees(lon[k]) + 180) % 360 - 180, ".", 1, sign=True, digits=3))
        cells.append(_sexagesimal(np.degrees(lat[k]), ".", 1, sign=True))
        cells += [f"{value:.2f}" for value in offsets[k]] if near else ["-", "-", "-"]
        rows.append([*cells, *(f"{value:.3f}" for value in positions[k])])
    header = ["ID", "Name", "Station", "Diam.", "Long.", "Lat.", "East", "North", "Up", "ITRF x", "y", "z"]
    notes = "   (Long., Lat.: WGS84; East, North, Up: from the array centre, m; ITRF: geocentric, m)"
    return "\n".join([f"Antennas: {len(ids)}:", *_table(header, rows, "rllrrrrrrrrr"), notes])


def _date_time(seconds: float) -> str:
    """'15-Aug-2024/05:00:00.0' from s of MJD, rounded to 0.1 s."""
    import datetime

    tenths = round(seconds * 10)
    days, rest = divmod(tenths, round(DAY * 10))
    date = MJD_EPOCH + datetime.timedelta(days=days)
    hours, rest = divmod(rest, 36000)
    minutes, rest = divmod(rest, 600)
    month = MONTHS[date.month - 1].title()
    return f"{date.day:02d}-{month}-{date.year}/{hours:02d}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"


def _sexagesimal(value: float, separator: str, decimals: int, *, sign: bool, digits: int = 2) -> str:
    """'-06.23.35.33000' or '00:06:13.893000': units, minutes and seconds, rounded at the last decimal."""
    scale = 10**decimals
    units = round(abs(value) * 3600 * scale)
    minutes, seconds = divmod(units, 60 * scale)
    whole, minutes = divmod(minutes, 60)
    lead = ("-" if value < 0 else "+") if sign else ""
    fraction = f".{seconds % scale:0{decimals}d}" if decimals else ""
    return f"{lead}{whole:0{digits}d}{separator}{minutes:02d}{separator}{seconds // scale:02d}{fraction}"
