"""CASA's selection syntax: against CASA's own answers (stored and live), and on made-up tables with odd names."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.errors import MeasurementSetError, SelectionError
from calibrant.ms.index import Antennas, Fields, MSIndex, Polarization, SpectralWindow, open_index
from calibrant.ms.selection import antenna_ids, baseline_mask, field_ids, select, spw_channels

# ---- CASA 6.7.6.14, ms.msselect on the oracle's tiny.ms: rows selected -------------------------------------------

CASA_ROWS: list[tuple[str, str, int]] = [
    ("antenna", "DV01", 476),
    ("antenna", "DA41&DV01", 68),
    ("antenna", "DA41&&DV01", 68),
    ("antenna", "DA41&&&", 102),
    ("antenna", "*&&&", 816),
    ("antenna", "DA*&", 408),
    ("antenna", "DA*&&", 816),
    ("antenna", "DV01&&*", 578),
    ("antenna", "!DA41", 2244),
    ("antenna", "!DV01&DA41", 2652),
    ("antenna", "!*&&&", 1904),
    ("antenna", "1~3", 1224),
    ("antenna", "1~3&5", 204),
    ("antenna", "1&2;3&4", 136),
    ("antenna", "DA41;!DV01", 408),
    ("antenna", "!DA41;!DV01", 1836),
    ("antenna", "*;!DA41", 1428),
    ("antenna", "DV01;DV01&&&", 578),
    ("antenna", "DA41@A035", 476),
    ("antenna", "@A040", 476),
    ("antenna", "A040", 476),
    ("antenna", "DA4?", 1496),
    ("antenna", "DA4[13]", 884),
    ("antenna", "^DA*", 1496),
    ("antenna", "/DA4[15]/", 884),
    ("antenna", "0,DV*", 1700),
    ("antenna", "DA41&DV01,DA43", 136),
    ("antenna", "DV01 & DA41", 68),
    ("antenna", '"DA41"', 476),
    ("antenna", "0~9", 1904),
    ("antenna", "<50m", 884),
    ("antenna", ">0.1km", 1292),
    ("field", "0", 800),
    ("field", "Neptune", 400),
    ("field", "J*", 1520),
    ("field", "0~2", 1920),
    ("field", "<2", 1200),
    ("field", "1,TARGET01", 1200),
    ("field", "J2253+1608", 800),
    ("field", "none", 2720),
    ("field", "0~9", 2720),
    ("timerange", "2024/08/15/05:00:00~2024/08/15/05:01:00.5", 800),
    ("timerange", "05:00:00~05:01:00", 800),
    ("timerange", "2024/08/15/05:00:00~05:01:00", 800),
    ("timerange", ">05:03:00", 880),
    ("timerange", "<05:01:12.6", 800),
    ("timerange", "05:00:04", 80),
    ("timerange", "05:00:00+00:01:00", 800),
    ("timerange", "05:00:00+60", 800),
    ("timerange", "05:00:00~05:00:30,05:02:00~05:02:30", 640),
    ("timerange", "2024/08/14/29:00:00~2024/08/14/29:01:00", 800),
    ("scan", "1,3", 1040),
    ("scan", "1~3", 1440),
    ("scan", "<=3", 1440),
    ("scan", "1,>5", 1440),
    ("scan", ">2&<5", 640),
    ("scan", "6~99", 640),
    ("intent", "*BANDPASS*", 800),
    ("intent", "*PHASE*,*FLUX*", 1120),
    ("intent", "CALIBRATE_WVR#ON_SOURCE", 1920),
    ("intent", "CALIBRATE_?HASE*", 720),
    ("intent", "*PHASE*&*WVR*", 720),
    ("state", "0~1", 1200),
    ("state", "0,*TARGET*", 1600),
    ("observation", "0", 2720),
    ("array", "0", 2720),
    ("correlation", "xx", 2720),
    ("correlation", "YY", 2448),
    ("uvrange", ">100m", 1272),
    ("uvrange", "0~200", 2080),
    ("uvrange", "0.1~0.2km", 632),
    ("uvrange", "10~50,100~200m", 750),
    ("uvrange", "<100lambda", 816),
    ("uvrange", "10~30klambda", 495),
    ("uvrange", ">0.01Mlambda", 1904),
    ("uvrange", "100~200m,10~20klambda", 860),
]

CASA_CHANNELS: list[tuple[str, list[tuple[int, int, int, int]]]] = [
    ("0", [(0, 0, 31, 1)]),
    ("*", [(0, 0, 31, 1), (1, 0, 63, 1), (2, 0, 3, 1)]),
    ("<2", [(0, 0, 31, 1), (1, 0, 63, 1)]),
    ("WVR*", [(2, 0, 3, 1)]),
    ("0:5~20;25~40,1", [(0, 5, 20, 1), (0, 25, 31, 1), (1, 0, 63, 1)]),
    ("0:0~30^4", [(0, 0, 30, 4)]),
    ("0:^2", [(0, 0, 31, 2)]),
    ("0:1;3;5~9^2", [(0, 1, 1, 1), (0, 3, 3, 1), (0, 5, 9, 2)]),
    ("0,0:3~5", [(0, 0, 31, 1)]),
    ("*BB*:2", [(0, 2, 2, 1), (1, 2, 2, 1)]),
    ("0:97.5~98.2GHz", [(0, 8, 19, 1)]),
    ("0:97500~98200MHz", [(0, 8, 19, 1)]),
    ("0:97.5GHz", [(0, 7, 8, 1)]),
    ("0:97.5~98.2GHz^500MHz", [(0, 8, 19, 8)]),
    ("1:109.7~109.8GHz", [(1, 10, 36, 1)]),
    ("0:96.95~97.02GHz", [(0, 0, 0, 1)]),
    ("97.97GHz", [(0, 0, 31, 1)]),
    ("97~98GHz", [(0, 0, 31, 1)]),
    ("90~120GHz", [(0, 0, 31, 1), (1, 0, 63, 1)]),
    (">100GHz", [(1, 0, 63, 1), (2, 0, 3, 1)]),
]

CASA_NAMES = {
    "antenna": "baseline", "timerange": "time", "uvrange": "uvdist", "intent": "scanintent", "state": "scanintent",
    "correlation": "polarization",
}  # fmt: skip

ASK_CASA = """
import json, sys
from casatools import ms
vis, asks = json.load(sys.stdin)
tool, answers = ms(), []
for ask in asks:
    tool.open(vis)
    tool.msselect(ask)
    rows = [int(row) for row in tool.range(["rows"])["rows"]]
    answers.append([rows, tool.msselectedindices()["channel"].tolist()])
    tool.close()
print("ANSWER" + json.dumps(answers))
"""


def channel_sets(runs: list[Any]) -> dict[int, set[int]]:
    """CASA's list of (spw, first, last, step) as channels of each spw."""
    sets: dict[int, set[int]] = {}
    for spw, first, last, step in runs:
        sets.setdefault(spw, set()).update(range(first, last + 1, step))
    return sets


@pytest.fixture(scope="module")
def tiny(oracle: Path) -> MSIndex:
    return open_index(str(oracle / "tiny.ms"))


@pytest.mark.oracle
@pytest.mark.parametrize(("parameter", "text", "rows"), CASA_ROWS, ids=lambda value: str(value))
def test_rows_are_casas(tiny: MSIndex, parameter: str, text: str, rows: int) -> None:
    assert len(select(tiny, **{parameter: text}).rows) == rows


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("text", "runs"), CASA_CHANNELS, ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_channels_are_casas(tiny: MSIndex, text: str, runs: list[Any]) -> None:
    chosen = select(tiny, spw=text)
    assert {spw: set(channels.tolist()) for spw, channels in chosen.channels.items()} == channel_sets(runs)
    assert set(np.unique(tiny.spw[chosen.rows])) == set(chosen.channels)


@pytest.mark.oracle
@pytest.mark.casa
def test_live_casa_selects_the_same_rows_and_channels(tiny: MSIndex, tiny_ms: Path, casa_python: str) -> None:
    asks = [{CASA_NAMES.get(name, name): text} for name, text, _ in CASA_ROWS] + [{"spw": t} for t, _ in CASA_CHANNELS]
    ours = [select(tiny, **{name: text}) for name, text, _ in CASA_ROWS]
    ours += [select(tiny, spw=text) for text, _ in CASA_CHANNELS]
    done = subprocess.run(
        [casa_python, "-c", ASK_CASA], input=json.dumps([str(tiny_ms), asks]), capture_output=True, text=True,
        cwd=tiny_ms.parent, check=True,
    )  # fmt: skip
    answers = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ANSWER"))[6:])
    for ask, mine, (rows, channels) in zip(asks, ours, answers, strict=True):
        assert mine.rows.tolist() == rows, ask
        if "spw" in ask:
            assert {spw: set(c.tolist()) for spw, c in mine.channels.items()} == channel_sets(channels), ask


@pytest.mark.oracle
def test_parameters_are_combined(tiny: MSIndex) -> None:
    chosen = select(tiny, field="0", spw="0:3~5,2", antenna="DA41&&&", correlation="XX")
    assert len(chosen.rows) == 20  # 10 integrations x (spw 0, spw 2)
    assert {spw: c.tolist() for spw, c in chosen.channels.items()} == {0: [3, 4, 5], 2: [0, 1, 2, 3]}
    assert {pol: c.tolist() for pol, c in chosen.correlations.items()} == {0: [0], 1: [0]}
    assert "20 rows, spw 0:3~5, 2:0~3" in chosen.describe()


@pytest.mark.oracle
def test_only_what_is_needed_is_read(oracle: Path) -> None:
    index = open_index(str(oracle / "tiny.ms"))
    select(index, scan="1~3")
    assert set(index._cache) == {"SCAN_NUMBER", "DATA_DESC_ID"}


@pytest.mark.real_data
def test_negative_channel_width_and_spw_without_rows(unpack: Callable[[str], Path]) -> None:
    index = open_index(str(unpack("data/alma/mssel_test_small.ms.tgz") / "mssel_test_small.ms"))
    # ranges by CASA 6.7.6: channel 0 is the highest frequency, 86.29 GHz, step -31.25 MHz
    assert spw_channels(index, "1:85~85.5GHz")[1].tolist() == list(range(26, 42))
    assert spw_channels(index, "1:85GHz")[1].tolist() == [41, 42]
    assert len(select(index, spw="*BB*").rows) == 1058
    with pytest.raises(SelectionError, match=r"nothing is selected .* spw='0' selects 0"):
        select(index, spw="0")


@pytest.mark.real_data
def test_vlba_with_all_scans_zero(unpack: Callable[[str], Path]) -> None:
    index = open_index(str(unpack("data/vlba/VLBA_TL016B_rebuilt.ms.tar.gz") / "VLBA_TL016B_rebuilt.ms"))
    rows = {text: len(select(index, antenna=text).rows) for text in ("BR", "BR&FD", "BR,FD", "*&&&", "!BR")}
    assert rows == {"BR": 12940, "BR&FD": 1442, "BR,FD": 24650, "*&&&": 14628, "!BR": 67074}  # CASA 6.7.6
    assert len(select(index, scan="0").rows) == 80014
    with pytest.raises(SelectionError, match="no scan intents"):
        select(index, intent="*BANDPASS*")


# ---- a made-up MeasurementSet: interleaved, shuffled, odd names --------------------------------------------------

DAY0 = 60000 * 86400.0  # 2023-02-25


def spw(ident: int, name: str, first: float, width: float, nchan: int) -> SpectralWindow:
    freq = first + width * np.arange(nchan)
    widths = np.full(nchan, width)
    return SpectralWindow(ident, name, freq, widths, abs(widths), abs(widths), float(freq[0]), nchan * abs(width), 5, 0)


def made_up() -> MSIndex:
    """2 fields x 2 scans x 3 times x 3 spws x 6 baselines (autocorrelations too), rows shuffled."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    grid = np.array([(s, t, d, *p) for s in range(2) for t in range(3) for d in range(3) for p in pairs])
    grid = grid[np.random.default_rng(1).permutation(len(grid))]
    scan, step, ddid, ant1, ant2 = (grid[:, k].astype(np.int32) for k in range(5))
    index = MSIndex("made_up.ms", len(grid), ("UVW",))
    index._cache.update(
        DATA_DESC_ID=ddid, ANTENNA1=ant1, ANTENNA2=ant2, FIELD_ID=scan, SCAN_NUMBER=scan * 7 + 3,
        STATE_ID=np.full(len(grid), -1, np.int32), OBSERVATION_ID=scan * 0, ARRAY_ID=scan * 0,
        TIME=DAY0 + 23.5 * 3600 + scan * 3600.0 + step * 10.0, INTERVAL=np.full(len(grid), 10.0),
    )  # fmt: skip
    position = np.array([[0.0, 0.0, 0.0], [30.0, 0.0, 0.0], [1000.0, 0.0, 0.0]])
    index.__dict__.update(
        antennas=Antennas(["01", "02", "1"], ["W01", "W02", "N1"], ["ALT-AZ"] * 3, position, np.full(3, 25.0)),
        fields=Fields(["1331", "NGC 5921, north"], ["A", "B"], np.arange(2, dtype=np.int32), np.zeros((2, 2))),
        spws=[spw(0, "low", 1.40e9, 1e6, 8), spw(1, "high:2", 1.50e9, -1e6, 8), spw(2, "low", 1.45e9, 1e6, 2)],
        polarizations=[
            Polarization(np.array([5, 8], np.int32), np.array([[0, 0], [1, 1]], np.int32)),
            Polarization(np.array([5, 6, 7, 8], np.int32), np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)),
        ],
        _data_description=(np.arange(3, dtype=np.int32), np.array([0, 1, 0], np.int32)),
        state_modes=[],
    )
    return index


def test_shuffled_and_interleaved_rows() -> None:
    index = made_up()
    chosen = select(index, scan="10", spw="1:2~3", antenna="01&02")
    assert (np.diff(chosen.rows) > 0).all()
    assert len(chosen.rows) == 3
    assert (index.scan[chosen.rows] == 10).all()
    assert (index.spw[chosen.rows] == 1).all()
    assert {(int(a), int(b)) for a, b in zip(index.ant1[chosen.rows], index.ant2[chosen.rows], strict=True)} == {(0, 1)}
    assert list(chosen.channels) == [1]
    assert list(chosen.correlations) == [1]


def test_everything_is_selected_without_parameters_autocorrelations_included() -> None:
    chosen = select(made_up())
    assert len(chosen.rows) == made_up().nrow
    assert {spw: len(c) for spw, c in chosen.channels.items()} == {0: 8, 1: 8, 2: 2}


def test_numbers_that_are_names() -> None:
    index = made_up()
    assert antenna_ids(index, "01") == [0]  # a name
    assert antenna_ids(index, "1") == [2]  # a name before an id
    assert antenna_ids(index, "2,01") == [2, 0]  # no such name: the id; order as written
    assert field_ids(index, "1331") == [0]  # no such id: the name
    assert field_ids(index, "1") == [1]  # an id that exists


def test_names_with_blanks_commas_and_colons() -> None:
    index = made_up()
    assert field_ids(index, "NGC 5921, north") == [1]
    assert field_ids(index, "0,'NGC 5921, north'") == [0, 1]
    assert field_ids(index, "B") == [1]  # by field code
    assert {s: c.tolist() for s, c in spw_channels(index, "'high:2':0~1").items()} == {1: [0, 1]}
    assert list(spw_channels(index, "low")) == [0, 2]  # one name, two spws


def test_channels_beyond_the_end_are_named() -> None:
    index = made_up()
    chosen = select(index, spw="*:4~9")
    assert {s: c.tolist() for s, c in chosen.channels.items()} == {0: [4, 5, 6, 7], 1: [4, 5, 6, 7]}
    assert 2 not in index.spw[chosen.rows]
    assert "spw 2 has none of the channels '4~9'" in chosen.describe()
    assert "spw 0 ends with channel 7" in chosen.describe()


def test_frequencies_where_width_is_negative() -> None:
    index = made_up()
    assert spw_channels(index, "1:1.4975~1.4995GHz")[1].tolist() == [1, 2]
    assert list(spw_channels(index, "1.4965GHz")) == [1]
    assert {s: c.tolist() for s, c in spw_channels(index, "*:1.4~1.402GHz").items()} == {0: [0, 1, 2]}


def test_correlations_by_polarization_setup() -> None:
    index = made_up()
    chosen = select(index, correlation="rl,LL")
    assert {pol: c.tolist() for pol, c in chosen.correlations.items()} == {0: [1], 1: [1, 3]}
    only = select(index, correlation="RL")
    assert set(only.channels) == {1}


def test_baselines_by_length_of_range() -> None:
    index = made_up()
    mask = baseline_mask(index, "20~100m")
    assert {(int(a), int(b)) for a, b in zip(index.ant1[mask], index.ant2[mask], strict=True)} == {(0, 1)}


def test_times_across_midnight() -> None:
    index = made_up()  # scan 3 at 23:30 on 25 February, scan 10 at 00:30 on the 26th
    assert len(select(index, timerange="23:30:00~23:30:05").rows) == 18
    assert set(index.scan[select(index, timerange="24:00:00~25:00:00").rows]) == {10}
    assert set(index.scan[select(index, timerange="2023/02/26").rows]) == {10}
    assert set(index.scan[select(index, timerange="26-Feb-2023/00:30~00:31").rows]) == {10}
    assert set(index.scan[select(index, timerange="2023-02-25T23:00:00~2023-02-26T00:00:00").rows]) == {3}
    assert len(select(index, timerange="23:30:12").rows) == 18  # the integration it falls into


# ---- what goes wrong, in words -----------------------------------------------------------------------------------

WRONG = [
    ({"field": "NGC5921"}, ["field='NGC5921'", "no such field", "Did you mean 'NGC 5921, north'?"]),
    ({"field": "0,7"}, ["at character 3 ('7')", "0 1331"]),
    ({"field": "0,"}, ["before or after ','"]),
    ({"field": "5~9"}, ["no such field", "existing: 0, 1"]),
    ({"spw": "lo"}, ["no such spectral window", "Did you mean 'low'?"]),
    ({"spw": "0:7~3"}, ["at character 3", "starts at channel 7"]),
    ({"spw": "0:90"}, ["no such channels", "channels 0~7"]),
    ({"spw": "0:"}, ["no channels stand after ':'"]),
    ({"spw": ":3"}, ["no spectral window stands before ':'"]),
    ({"spw": "0:x"}, ["no channel range"]),
    ({"spw": "0:1.4~1.5"}, ["a frequency needs a unit"]),
    ({"spw": "0:2~6^0"}, ["the step 0"]),
    ({"spw": "9GHz"}, ["no spectral window has its centre there"]),
    ({"antenna": "03"}, ["antenna='03'", "no such antenna", "0 01"]),
    ({"antenna": "01&&&02"}, ["cannot stand after '&&&'"]),
    ({"antenna": "&01"}, ["no antenna stands before '&'"]),
    ({"antenna": "!"}, ["no antenna stands after '!'"]),
    ({"antenna": "01@W02"}, ["no such antenna at that station"]),
    ({"timerange": "05:00~05:10"}, ["write HH:MM:SS"]),
    ({"timerange": "noon"}, ["is no time"]),
    ({"timerange": "2023/02/30"}, ["there is no date 2023/02/30"]),
    ({"timerange": "23:40:00~23:30:00"}, ["starts after its end"]),
    ({"scan": "4"}, ["no such scan", "existing: 3, 10"]),
    ({"scan": "!3"}, ["is no scan number"]),
    ({"scan": "9~2"}, ["starts at 9"]),
    ({"intent": "*PHASE*"}, ["no scan intents"]),
    ({"uvrange": "1~2parsec"}, ["unknown unit 'parsec'", "klambda"]),
    ({"uvrange": "far"}, ["no range of baseline lengths"]),
    ({"correlation": "RR,XX"}, ["at character 4 ('XX')", "no such correlation"]),
    ({"scan": "3", "field": "1"}, ["scan='3' selects 54", "field='1' selects 54", "no row is in all of them"]),
]


@pytest.mark.parametrize(("wanted", "words"), WRONG, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_errors_say_what_and_where(wanted: dict[str, str], words: list[str]) -> None:
    with pytest.raises(SelectionError) as caught:
        select(made_up(), **wanted)
    for word in words:
        assert word in str(caught.value)


def test_a_list_of_antennas_is_no_baseline_expression() -> None:
    with pytest.raises(SelectionError, match="a plain list of antennas"):
        antenna_ids(made_up(), "01&02")


def test_rows_beyond_the_antenna_subtable() -> None:
    index = made_up()
    index._cache["ANTENNA2"] = index.ant2 + 1
    with pytest.raises(MeasurementSetError, match="beyond the 3"):
        baseline_mask(index, "01")
