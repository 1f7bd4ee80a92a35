"""Which sources are used: the user's and the catalogue's, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import skies

from calibrant.allsky.sky import chosen_sources, distinct_directions, parse_source, shuffled, whole_sources
from calibrant.allsky.snapshots import CalibrationData, Source
from calibrant.errors import DataError, ParameterError


@pytest.fixture(scope="module")
def data() -> CalibrationData:
    return skies.simulated(antennas=24, satellites=5)[1]


def under(data: CalibrationData, *sources: Source) -> CalibrationData:
    return skies.under(data, [sources])


def test_a_source_in_words() -> None:
    assert parse_source("az=10, el=45, r=25", 1) == Source("given 1", 10.0, 45.0, 25.0, given=True)
    assert parse_source("az=-10,el=45,r=far,name=mast", 2) == Source("mast", 350.0, 45.0, math.inf, given=True)
    assert math.isnan(parse_source("az=10,el=45", 1).r_m)


@pytest.mark.parametrize(
    "text",
    ["az=10", "az=10,el=x,r=1", "az=10,el=95,r=1", "az=10,el=45,r=-2", "north", "az=1,az=2,el=3", "az=500,el=4,r=1"],
)
def test_a_source_that_cannot_be(text: str) -> None:
    with pytest.raises(ParameterError, match="source="):
        parse_source(text, 1)


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        (["az=0", "el=45", "r=25"], ["az=0,el=45,r=25"]),
        (["az=0,el=45,r=25", "az=90,el=30,r=far"], ["az=0,el=45,r=25", "az=90,el=30,r=far"]),
        (["az=0", "el=45", "r=25", "az=90", "el=30", "r=far"], ["az=0,el=45,r=25", "az=90,el=30,r=far"]),
    ],
)
def test_sources_cut_at_their_commas_are_put_together(cut: Sequence[str], whole: Sequence[str]) -> None:
    assert whole_sources(cut) == list(whole)


def test_a_missing_distance_is_refused_with_its_cost(data: CalibrationData) -> None:
    with pytest.raises(ParameterError, match=r"no distance r, .* \d\d deg at 25 m, .*rms.*no residual would show"):
        chosen_sources(data, [parse_source("az=0,el=45", 1)], 10.0)


def test_a_missing_distance_in_the_file_is_refused_too(data: CalibrationData) -> None:
    with pytest.raises(ParameterError, match="source 'my source' has no distance r"):
        chosen_sources(under(data, Source("my source", 0, 45, math.nan)), (), 10.0)


def test_a_distance_said_to_be_far_is_taken(data: CalibrationData) -> None:
    ((first, *_),) = chosen_sources(data, [parse_source("az=0,el=45,r=far", 1)], 10.0)
    assert math.isinf(first.r_m)


def test_no_source_left(data: CalibrationData) -> None:
    with pytest.raises(DataError, match=r"none of its 1 source\(s\) is above 10 deg \(the highest is at 4.0 deg\)"):
        chosen_sources(under(data, Source("low", 0.0, 4.0)), (), 10.0)


def test_source_deleted(data: CalibrationData) -> None:
    with pytest.raises(DataError, match="its list of sources is empty; give one with --source"):
        chosen_sources(under(data), (), 10.0)
    assert len(chosen_sources(under(data), [skies.NEAR], 10.0)[0]) == 1


def test_two_names_of_one_satellite_are_one() -> None:
    twins = [Source("QZS-4", 10.0, 50.0), Source("QZS-4 (PRN 195)", 10.05, 50.02), Source("other", 12.0, 50.0)]
    assert [one.name for one in distinct_directions(twins)] == ["QZS-4", "other"]


def test_a_beacon_in_front_of_a_satellite_is_another_source() -> None:
    assert len(distinct_directions([skies.NEAR, Source("behind", 0.0, 45.0)])) == 2


def test_a_given_source_takes_the_place_of_the_catalogues() -> None:
    (kept,) = distinct_directions([skies.FAR, Source("listed", 0.1, 45.1)])
    assert kept.given


def test_shuffling_keeps_elevations_and_moves_a_name_alike() -> None:
    sky = [[Source("a", 10, 20), Source("b", 50, 30)], [Source("a", 12, 21)]]
    (a, b), (later,) = shuffled(sky, 1)
    assert (a.el_deg, b.el_deg, later.el_deg) == (20, 30, 21)
    assert (later.az_deg - a.az_deg) % 360 == pytest.approx(2.0)
    assert a.az_deg != 10
