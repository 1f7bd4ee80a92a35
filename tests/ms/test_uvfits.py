"""UVFITS: small files made here, with everything odd that the format allows, and the VLA's NGC 5921."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibrant.errors import ExistsError, FormatError
from calibrant.ms.index import open_index
from calibrant.ms.reader import read_rows
from calibrant.ms.tables import open_subtable, open_table
from calibrant.ms.uvfits import SPEED_OF_LIGHT, open_uvfits
from calibrant.tasks.importuvfits import importuvfits

NIF, NCHAN = 2, 5
FREQ, IF_FREQ, WIDTH = 1.4e9, (0.0, 64e6), (1e6, -1e6)
FILE_ORDER = (-1, -2, -3, -4)
"""RR LL RL LR: the MS's order is RR RL LR LL."""
DAY0 = 2459000.5
PAIRS = ((1, 1), (1, 2), (1, 4), (2, 4), (4, 4))
SECONDS = (43200.0, 43210.0, 43220.0, 44000.0)
"""Times after 0 h: the last one comes after a gap that starts a new scan."""
SOURCE = (1, 1, 3, 3)


class Groups:
    """Contents of the small file: one group for each time and pair, values that say where they come from."""

    def __init__(self, pairs: tuple[tuple[int, int], ...] = PAIRS) -> None:
        self.pairs = pairs
        count = len(SECONDS) * len(pairs)
        self.baseline = np.array([_baseline(*pair) for _ in SECONDS for pair in pairs])
        self.seconds = np.repeat(SECONDS, len(pairs))
        self.source = np.repeat(SOURCE, len(pairs)).astype(float)
        self.uvw = np.arange(count * 3).reshape(count, 3) * 1e-7
        rng = np.random.default_rng(5)
        # group, dec, ra, IF, FREQ, STOKES, COMPLEX
        self.data = rng.normal(size=(count, 1, 1, NIF, NCHAN, len(FILE_ORDER), 3)).astype(np.float32)
        self.data[..., 2] = rng.uniform(1, 2, self.data.shape[:-1])
        self.data[3, 0, 0, 1, 2, 1, 2] = -1.5
        self.data[4, 0, 0, 0, 1, 0, 2] = 0
        self.data[5, 0, 0, 0, 0, 3, 0] = np.nan


def _baseline(first: int, second: int) -> int:
    return 256 * first + second if max(first, second) < 256 else 65536 + 2048 * first + second


def write_uvfits(path: Path, groups: Groups, **options: Any) -> Path:
    """A UVFITS file. Options: drop (EXTNAME of a table left out), stokes, inttim, telescope, antennas, header."""
    from astropy.io import fits

    days = groups.seconds / 86400
    names = [
        "UU---SIN",
        "VV---SIN",
        "WW---SIN",
        options.get("baseline", "BASELINE"),
        "DATE",
        "DATE",
        "SOURCE",
        "FREQSEL",
    ]
    columns = [*groups.uvw.T, groups.baseline, np.zeros(len(days)), days, groups.source, np.ones(len(days))]
    if options.get("inttim", True):
        names.append("INTTIM")
        columns.append(np.full(len(days), 10.0))
    data = fits.GroupData(groups.data, bitpix=-32, parnames=names, pardata=columns)
    primary = fits.GroupsHDU(data)
    cards: dict[str, Any] = {"OBJECT": "MULTI", "TELESCOP": options.get("telescope", "VLA"), "OBSERVER": "ME"}
    cards |= {"EPOCH": 2000.0, "XZERO5": DAY0}
    first, step = options.get("stokes", (-1, -1))
    axes = {2: ("COMPLEX", 1, 1, 1), 3: ("STOKES", first, 1, step), 4: ("FREQ", FREQ, 3, 1e6), 5: ("IF", 1, 1, 1)}
    axes |= {6: ("RA", 0, 1, 1), 7: ("DEC", 0, 1, 1)}
    for number, (name, value, pixel, delta) in axes.items():
        cards |= {f"CTYPE{number}": name, f"CRVAL{number}": float(value)}
        cards |= {f"CRPIX{number}": float(pixel), f"CDELT{number}": float(delta)}
    for key, value in (cards | options.get("header", {})).items():
        primary.header[key] = value
    tables = [_antennas(options.get("antennas", (1, 2, 4))), _frequencies(), _sources()]
    hdus = [primary, *(table for table in tables if table.name != options.get("drop"))]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    # astropy (8.0) fills a parameter that has a PZERO with garbage: the card gets its name afterwards
    content = path.read_bytes()
    assert content.count(b"XZERO5  =") == 1 and b"PZERO5" not in content
    path.write_bytes(content.replace(b"XZERO5  =", b"PZERO5  ="))
    return path


def _table(name: str, columns: dict[str, tuple[str, Any]], **cards: Any) -> Any:
    from astropy.io import fits

    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, form, array=values) for key, (form, values) in columns.items()]
    )
    table.name = name
    table.header.update(cards)
    return table


def _antennas(numbers: tuple[int, ...]) -> Any:
    count = len(numbers)
    xyz = np.arange(3.0 * count).reshape(count, 3)
    columns = {"ANNAME": ("8A", [f"VLA:N{n}" for n in numbers]), "STABXYZ": ("3D", xyz), "NOSTA": ("1J", numbers)}
    columns |= {
        "MNTSTA": ("1J", np.zeros(count)),
        "STAXOF": ("1E", np.zeros(count)),
        "POLAA": ("1E", np.full(count, 30.0)),
    }
    columns |= {"POLAB": ("1E", np.full(count, 45.0))}
    frame = {"FRAME": "ITRF", "XYZHAND": "LEFT", "TIMSYS": "UTC", "ARRNAM": "VLA"}
    return _table("AIPS AN", columns, ARRAYX=1e6, ARRAYY=2e6, ARRAYZ=3e6, **frame)


def _frequencies() -> Any:
    columns = {"FRQSEL": ("1J", [1]), "IF FREQ": ("2D", [IF_FREQ]), "CH WIDTH": ("2E", [np.abs(WIDTH)])}
    columns |= {"TOTAL BANDWIDTH": ("2E", [[5e6, 5e6]]), "SIDEBAND": ("2J", [[1, -1]])}
    return _table("AIPS FQ", columns, NO_IF=NIF)


def _sources() -> Any:
    columns = {"ID. NO.": ("1J", [1, 3]), "SOURCE": ("16A", ["3C286", "NGC1"]), "QUAL": ("1J", [0, 2])}
    columns |= {"CALCODE": ("4A", ["A", ""]), "RAEPO": ("1D", [202.8, 15.0]), "DECEPO": ("1D", [30.5, -5.0])}
    columns |= {"EPOCH": ("1D", [2000.0, 2000.0]), "RESTFREQ": ("2D", [[1.42e9, 1.42e9]] * 2)}
    columns |= {"LSRVEL": ("2D", [[1e3, 2e3]] * 2), "RAAPP": ("1D", [203.0, 15.1]), "DECAPP": ("1D", [30.4, -5.1])}
    columns |= {"PMRA": ("1D", [0.0, 0.0]), "PMDEC": ("1D", [0.0, 0.0])}
    return _table("AIPS SU", columns, NO_IF=NIF, VELTYP="TOPOCENT")


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def small(tmp_path: Path, groups: Groups) -> Path:
    return write_uvfits(tmp_path / "small.fits", groups)


def _cube(path: Path, column: str) -> NDArray[Any]:
    return read_rows(open_index(str(path)), column, np.arange(len(SECONDS) * len(PAIRS) * NIF))


# ---- contents -------------------------------------------------------------------------------------------------


def test_every_group_becomes_one_row_for_each_if(small: Path, groups: Groups, tmp_path: Path) -> None:
    vis = tmp_path / "small.ms"
    result = importuvfits(str(small), str(vis))
    index = open_index(str(vis))
    assert result.nrow == index.nrow == 2 * len(SECONDS) * len(PAIRS)
    assert index.ddid.tolist() == [0, 1] * (index.nrow // 2)
    assert index.ant1[::2].tolist() == [first - 1 for _ in SECONDS for first, _ in PAIRS]
    assert index.ant2[1::2].tolist() == [second - 1 for _ in SECONDS for _, second in PAIRS]
    expected = (DAY0 - 2400000.5) * 86400 + groups.seconds
    np.testing.assert_allclose(index.time[::2], expected, atol=5e-3)
    np.testing.assert_allclose(_cube(vis, "UVW")[::2], groups.uvw * SPEED_OF_LIGHT, rtol=1e-6)
    assert set(index.column("EXPOSURE")) == set(index.column("INTERVAL")) == {10.0}


def test_correlations_are_sorted_and_weights_become_flags(small: Path, groups: Groups, tmp_path: Path) -> None:
    vis = tmp_path / "small.ms"
    result = importuvfits(str(small), str(vis))
    index = open_index(str(vis))
    assert index.polarizations[0].names == ["RR", "RL", "LR", "LL"]
    assert index.polarizations[0].product.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    cube = groups.data[:, 0, 0].reshape(-1, NCHAN, 4, 3)[:, :, [0, 2, 3, 1]]
    np.testing.assert_array_equal(_cube(vis, "DATA"), cube[..., 0] + 1j * cube[..., 1])
    flag = (cube[..., 2] <= 0) | np.isnan(cube[..., 0])
    assert flag.sum() == 3
    np.testing.assert_array_equal(_cube(vis, "FLAG"), flag)
    weight = np.abs(cube[..., 2])
    np.testing.assert_array_equal(_cube(vis, "WEIGHT_SPECTRUM"), weight)
    np.testing.assert_allclose(_cube(vis, "WEIGHT"), weight.mean(1), rtol=1e-6)
    np.testing.assert_allclose(_cube(vis, "SIGMA"), weight.mean(1) ** -0.5, rtol=1e-6)
    assert result.flagged == pytest.approx(3 / flag.size)


def test_windows_fields_and_antennas(small: Path, tmp_path: Path) -> None:
    vis = tmp_path / "small.ms"
    result = importuvfits(str(small), str(vis), antnamescheme="new")
    index = open_index(str(vis))
    upper, lower = index.spws
    channel = np.arange(1, NCHAN + 1) - 3
    np.testing.assert_allclose(upper.freq, FREQ + channel * 1e6)
    np.testing.assert_allclose(lower.freq, FREQ + 64e6 - channel * 1e6)
    assert (lower.width == -1e6).all() and (lower.effective_bw == 1e6).all()
    assert (upper.frame, upper.net_sideband, lower.net_sideband) == (5, 1, -1)
    # names carry the qualifier because there are several; source 2 and antenna 3 are gaps
    assert index.fields.name == ["3C286_0", "", "NGC1_2"]
    np.testing.assert_allclose(index.fields.direction[0], np.radians([202.8 - 360, 30.5]))
    assert index.antennas.name == ["VA01", "VA02", "VA03", "VA04"]
    assert index.antennas.station == ["VLA:N1", "VLA:N2", "", "VLA:N4"]
    np.testing.assert_allclose(index.antennas.position[1], [1e6 + 3, 2e6 - 4, 3e6 + 5])
    assert open_subtable(str(vis), "ANTENNA").getcol("FLAG_ROW").tolist() == [False, False, True, False]
    assert open_subtable(str(vis), "FIELD").getcol("FLAG_ROW").tolist() == [False, True, False]
    np.testing.assert_allclose(open_subtable(str(vis), "FEED").getcol("RECEPTOR_ANGLE")[0], np.radians([30, 45]))
    assert any("antenna 3" in note for note in result.notes) and any("source 2" in note for note in result.notes)
    assert "VLA, 40 rows in 3 scans" in result.summary()


def test_scans_change_with_source_and_after_a_gap(small: Path, tmp_path: Path) -> None:
    importuvfits(str(small), str(tmp_path / "small.ms"))
    index = open_index(str(tmp_path / "small.ms"))
    assert index.scan[:: NIF * len(PAIRS)].tolist() == [1, 1, 2, 3]
    assert index.field[:: NIF * len(PAIRS)].tolist() == [0, 0, 2, 2]


def test_small_blocks_give_the_same_rows(small: Path) -> None:
    with open_uvfits(str(small)) as uv:
        whole = list(uv.blocks())
        parts = list(uv.blocks(block_bytes=2000))
        assert len(whole) == 1 and len(parts) > 3
        for name in ("time", "uvw", "ant2", "data", "weight", "flag"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole[0], name))


def test_more_than_255_antennas(tmp_path: Path) -> None:
    groups = Groups(((1, 300), (299, 300)))
    path = write_uvfits(tmp_path / "many.fits", groups, antennas=tuple(range(1, 301)))
    with open_uvfits(str(path)) as uv:
        block = next(uv.blocks())
        assert block.ant1[:2].tolist() == [0, 298] and block.ant2[:2].tolist() == [299, 299]
        assert set(block.array.tolist()) == {0}


def test_without_integration_times_the_shortest_step_counts(tmp_path: Path, groups: Groups) -> None:
    path = write_uvfits(tmp_path / "notime.fits", groups, inttim=False)
    with open_uvfits(str(path)) as uv:
        assert next(uv.blocks()).exposure[0] == pytest.approx(10.0, abs=0.01)


def test_single_source_files_take_field_and_position_from_the_header(tmp_path: Path, groups: Groups) -> None:
    header = {"OBJECT": "M87", "CRVAL6": 187.7, "CRVAL7": 12.4, "SPECSYS": "LSRK"}
    path = write_uvfits(tmp_path / "single.fits", groups, drop="AIPS SU", header=header)
    with open_uvfits(str(path)) as uv:
        assert uv.sources.fields.name == ["M87"]
        np.testing.assert_allclose(uv.sources.fields.direction, np.radians([[187.7 - 360, 12.4]]))
        assert uv.spws[0].frame == 1
        assert not next(uv.blocks()).source.any()


def test_gzipped_files_and_dry_run(tmp_path: Path, small: Path) -> None:
    packed = tmp_path / "small.fits.gz"
    packed.write_bytes(gzip.compress(small.read_bytes()))
    (tmp_path / "there.ms").mkdir()
    assert importuvfits(str(packed), str(tmp_path / "there.ms"), dry_run=True).nrow
    result = importuvfits(str(packed), str(tmp_path / "none.ms"), dry_run=True)
    assert result.nrow == 40 and "would become" in result.summary()
    assert json.loads(json.dumps(result.to_dict()))["flagged"] is None
    assert not (tmp_path / "none.ms").exists()


def test_existing_output_is_kept(tmp_path: Path, small: Path) -> None:
    vis = str(tmp_path / "a.ms")
    importuvfits(str(small), vis)
    with pytest.raises(ExistsError, match=r"a\.ms exists"):
        importuvfits(str(small), vis)
    importuvfits(str(small), vis, overwrite=True)


# ---- malformed files --------------------------------------------------------------------------------------------


def _refused(path: Path, message: str) -> None:
    with pytest.raises(FormatError, match=message), open_uvfits(str(path)) as uv:
        for _ in uv.blocks():
            pass


def test_truncated_files_name_the_byte(tmp_path: Path, small: Path) -> None:
    content = small.read_bytes()
    for size, message in (
        (100, "header of the primary HDU at byte 0"),
        (8000, "the file ends at byte 8000, after "),
        (len(content) - 2880, "extension HDU 3 at byte"),
    ):
        short = tmp_path / f"short{size}.fits"
        short.write_bytes(content[:size])
        _refused(short, message)
    packed = tmp_path / "short.fits.gz"
    packed.write_bytes(gzip.compress(content)[:-500])
    _refused(packed, "compressed data break off after")


def test_other_files_are_refused_in_words(tmp_path: Path, small: Path) -> None:
    from astropy.io import fits

    text = tmp_path / "text.fits"
    text.write_text("no FITS at all")
    _refused(text, "byte 0 does not start a FITS header")
    image = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((4, 4), np.float32)).writeto(image)
    _refused(image, "not random-groups UVFITS")
    _refused(tmp_path / "absent.fits", "does not exist")
    _refused(tmp_path, "is a directory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": "AIPS AN"}, "no table AIPS AN"),
        ({"drop": "AIPS FQ"}, "2 IFs but no table AIPS FQ"),
        ({"stokes": (1, 1)}, "axis STOKES of the primary HDU has code 1"),
        ({"baseline": "NOTHING"}, "no random parameter BASELINE"),
        ({"header": {"CTYPE4": "WAVE"}}, "no axis FREQ"),
        ({"header": {"CRVAL4": "high"}}, "keyword CRVAL4 is 'high'"),
        ({"antennas": (1, 2, 3)}, r"group 3 of the primary HDU has antenna 4, which table AIPS AN lacks"),
        ({"antennas": (1, 2, 2)}, "column NOSTA of table AIPS AN"),
    ],
)
def test_malformed_files_name_what_is_wrong(
    tmp_path: Path, groups: Groups, options: dict[str, Any], message: str
) -> None:
    _refused(write_uvfits(tmp_path / "bad.fits", groups, **options), message)


# ---- real data ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ngc5921(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """NGC 5921 imported with CASA's new antenna names."""
    path = shared / "vla" / "NGC5921.fits.gz"
    if not path.exists():
        path = shared / "data" / "vla" / "NGC5921.fits.gz"
    if not path.exists():
        pytest.skip("no real data: vla/NGC5921.fits.gz is absent")
    vis = str(tmp_path_factory.mktemp("ngc5921") / "ngc5921.ms")
    importuvfits(str(path), vis, antnamescheme="new")
    return vis


@pytest.mark.real_data
def test_ngc5921_has_the_rows_scans_and_names_of_casa(ngc5921: str) -> None:
    index = open_index(ngc5921)
    assert index.nrow == 22653 and (index.ant1 == index.ant2).sum() == 1619
    assert len(index.antennas) == 28 and len(np.unique(index.ant1)) == 27
    assert index.antennas.name[0] == "VA01" and index.antennas.station[0] == "VLA:N7"
    assert index.fields.name == ["1331+30500002_0", "1445+09900002_0", "N5921_2"]
    rows = np.bincount(index.scan)[1:]
    assert rows.tolist() == [4509, 1890, 6048, 756, 1134, 6804, 1512]
    spw = index.spws[0]
    assert spw.nchan == 63 and spw.frame == 1
    assert spw.freq[0] == pytest.approx(1412665073.7685, abs=1e-6)
    assert spw.freq[-1] == pytest.approx(1414178745.6435, abs=1e-6)
    np.testing.assert_allclose(
        index.antennas.position[5], [-1600715.915813, -5042273.186780, 3554668.167811], atol=1e-6
    )


CASA_ROWS = [
    # row, antenna1, antenna2, field, scan, time, uvw, data (channels 0 and 31; RR, LL); CASA 6.7.6-14 importuvfits
    (
        12345, 13, 16, 2, 3, 4304483279.997253, (-451.7269019708506, 172.4421144359527, -21.861912686443944),
        ((0.00027572427643463016 + 0.008097290061414242j, 0.0030873615760356188 + 0.0013129726285114884j),
         (0.0006002160953357816 + 0.04406711459159851j, 0.005608269013464451 - 0.011925543658435345j)),
    ),
    (
        20000, 24, 27, 2, 6, 4304486399.997711, (167.45530572736118, 428.30059813954904, -327.22955047554615),
        ((-0.002534239087253809 - 0.0030154569540172815j, -0.007798865903168917 + 0.00023014764973172426j),
         (0.05837903544306755 + 0.006407518871128559j, 0.01815027743577957 + 0.003839280689135194j)),
    ),
]  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("expected", CASA_ROWS, ids=lambda row: str(row[0]))
def test_ngc5921_rows_are_those_of_casa(ngc5921: str, expected: tuple[Any, ...]) -> None:
    row, ant1, ant2, field, scan, time, uvw, data = expected
    index = open_index(ngc5921)
    assert (index.ant1[row], index.ant2[row], index.field[row], index.scan[row]) == (ant1, ant2, field, scan)
    assert index.time[row] == time and index.column("EXPOSURE")[row] == 30.0
    at = np.array([row])
    np.testing.assert_allclose(read_rows(index, "UVW", at)[0], uvw, rtol=1e-14)
    np.testing.assert_allclose(read_rows(index, "DATA", at)[0][[0, 31]], data, rtol=1e-6)
    assert read_rows(index, "WEIGHT", at).tolist() == [[12.0, 12.0]]
    np.testing.assert_allclose(read_rows(index, "SIGMA", at), 12**-0.5, rtol=1e-6)
    assert not read_rows(index, "FLAG", at).any()


@pytest.mark.real_data
def test_ngc5921_keeps_its_time_system(ngc5921: str) -> None:
    assert open_table(ngc5921).getcolkeywords("TIME")["MEASINFO"]["Ref"] == "TAI"
    assert open_table(ngc5921).getcolkeywords("UVW")["MEASINFO"]["Ref"] == "J2000"
    assert open_subtable(ngc5921, "FIELD").getcolkeywords("TIME")["MEASINFO"]["Ref"] == "TAI"


@pytest.mark.real_data
@pytest.mark.casa
def test_casa_lists_ngc5921(ngc5921: str, casa_python: str, tmp_path: Path) -> None:
    code = f"from casatasks import listobs; listobs({ngc5921!r}, listfile='list.txt')"
    subprocess.run([casa_python, "-c", code], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    listing = (tmp_path / "list.txt").read_text()
    assert "13-Apr-1995/09:18:45.0   to   13-Apr-1995/10:47:15.0 (TAI)" in listing
    assert "VA28  VLA:W7" in listing and "LSRK    1412.665" in listing
