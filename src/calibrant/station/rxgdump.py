"""The receiver file that FS >= 10.1.0 dumps into the log at an lo= command -> the text of an rxg file.

The dump lacks the word `altaz` before `poly`, has an extra comma before the fields of Tcal and spill-over rows
(older versions; newer ones before spill-over only), leaves out Trec and everything after it where Trec is 0, and
`end_spillover_table` where that table is empty. What was loaded may be outdated: the station's own files are the
better source.
"""

from __future__ import annotations

from calibrant.station.onoffrows import RowError

MOST_LINES = 1300
"""An rxg has at most 1200 Tcal and 20 spill-over rows."""


class RxgDumps:
    """Fed with `:rxg_file,name,...` lines; `texts` gives what they say."""

    def __init__(self) -> None:
        self._rows: dict[str, list[list[str]]] = {}

    def row(self, text: str) -> None:
        """The text after the time stamp. Raises RowError."""
        fields = [field.strip() for field in text.split(",")]
        if len(fields) < 3 or not fields[1]:
            raise RowError("rxg dump: expected :rxg_file,name,fields")
        rows = self._rows.setdefault(fields[1], [])
        if len(rows) >= MOST_LINES:
            raise RowError(f"rxg dump: more than {MOST_LINES} lines for {fields[1][:40]}")
        row = fields[2:]
        if rows and row[0] in ("fixed", "range"):
            # The file again, after the log was reopened: the newer one counts.
            rows.clear()
        rows.append(row)

    def texts(self) -> dict[str, str]:
        """Name -> rxg text of the newest layout."""
        return {name: _text(rows) for name, rows in self._rows.items()}


def _text(rows: list[list[str]]) -> str:
    lines = ["* rebuilt from the rxg_file lines of a log"]
    for index, row in enumerate(rows):
        words = [word for word in row if word]
        if "poly" in words[:2]:
            words = ["ELEV" if words[0] == "elevation" else "ALTAZ", "POLY", *words[words.index("poly") + 1 :]]
        lines.append(" ".join(words))
        if words == ["end_tcal_table"] and index == len(rows) - 1:
            lines.append(" ".join(["0.0"] * _polarisations(rows)))
    if "end_spillover_table" not in lines:
        lines.append("end_spillover_table")
    return "\n".join(lines) + "\n"


def _polarisations(rows: list[list[str]]) -> int:
    return len([word for word in rows[3] if word]) if len(rows) > 3 else 1
