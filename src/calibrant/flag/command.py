"""Flagging commands run over an MS: many in one pass, each a flagger with its selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.flag.flagger import Flagger, Rows
from calibrant.ms.index import MSIndex
from calibrant.ms.reader import Chunk, read_chunks
from calibrant.ms.selection import Selection

Flags = NDArray[np.bool_]


@dataclass
class Command:
    """A flagger bound to rows, channels and correlations of one MS; `changed` counts visibilities."""

    flagger: Flagger
    rows: Rows
    channels: dict[int, Rows]
    correlations: dict[int, Rows]
    changed: int = 0

    def apply(self, index: MSIndex, chunk: Chunk, flags: Flags) -> None:
        """Change `flags` (nrow, nchan, ncorr) of the chunk in place."""
        places = self._places(chunk)
        if not len(places):
            return
        region = self._region(index, chunk, flags.shape[1:])
        cells = self.flagger.cells(chunk)
        # all rows of the chunk: a view instead of a copy
        where = slice(None) if len(places) == len(flags) else places
        block = flags[where]
        touched = region if cells is None else region & cells[where]
        new = block & ~touched if self.flagger.clears else block | touched
        self.changed += abs(int(np.count_nonzero(new)) - int(np.count_nonzero(block)))
        flags[where] = new

    def _places(self, chunk: Chunk) -> Rows:
        """Positions in the chunk of the rows that are touched."""
        first, last = np.searchsorted(self.rows, (chunk.rows[0], chunk.rows[-1] + 1))
        mine = self.rows[first:last]
        places = np.searchsorted(chunk.rows, mine)
        return places[chunk.rows[places] == mine]

    def _region(self, index: MSIndex, chunk: Chunk, shape: tuple[int, ...]) -> Flags:
        region = np.zeros(shape, bool)
        pol = int(index.ddid_pol[chunk.ddid])
        nothing = np.zeros(0, np.int64)
        region[np.ix_(self.channels.get(chunk.spw, nothing), self.correlations.get(pol, nothing))] = True
        return region


def bind(index: MSIndex, flagger: Flagger, selection: Selection) -> Command:
    """The command that `flagger` makes of a selection."""
    rows = flagger.rows(index, selection)
    return Command(flagger, rows, flagger.channels(index, selection), selection.correlations)


@dataclass
class Changes:
    """Per row (nrow,) of the MS: visibilities newly flagged, newly unflagged; rows whose flags were to be taken back
    and that are not wholly flagged at the end (a state, not a change: the same however often it is repeated)."""

    flagged: NDArray[np.int64]
    unflagged: NDArray[np.int64]
    open_rows: Flags

    @classmethod
    def none(cls, nrow: int) -> Changes:
        return cls(np.zeros(nrow, np.int64), np.zeros(nrow, np.int64), np.zeros(nrow, bool))


def run(
    index: MSIndex,
    commands: Sequence[Command],
    write: Callable[[Rows, Flags], None],
    advance: Callable[[int], None] = lambda rows: None,
) -> Changes:
    """Apply the commands in order, in one pass over their rows; `write` gets the chunks whose flags changed."""
    changes = Changes.none(index.nrow)
    clearing = np.zeros(index.nrow, bool)
    for command in commands:
        clearing[command.rows] |= command.flagger.clears
    rows = _union([command.rows for command in commands])
    data = sorted({column for command in commands for column in command.flagger.columns})
    for chunk in read_chunks(index, rows, ["FLAG", *data]):
        before = chunk["FLAG"]
        flags = before.copy()
        for command in commands:
            command.apply(index, chunk, flags)
        changes.flagged[chunk.rows] = _per_row(flags & ~before)
        changes.unflagged[chunk.rows] = _per_row(before & ~flags)
        changes.open_rows[chunk.rows] = clearing[chunk.rows] & ~flags.reshape(len(flags), -1).all(axis=1)
        if not np.array_equal(flags, before):
            write(chunk.rows, flags)
        advance(len(chunk.rows))
    return changes


def _per_row(flags: Flags) -> NDArray[np.int64]:
    return flags.reshape(len(flags), -1).sum(axis=1, dtype=np.int64)


def _union(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
