"""A point source with a spectrum, and what each correlation sees of it."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.errors import FluxModelError
from calibrant.sky.model import LogPolynomial, SourceModel

LINEAR, CIRCULAR = (9, 10, 11, 12), (5, 6, 7, 8)


def test_spectral_index_is_that_of_casa() -> None:
    """MODEL_DATA of CASA 6.7.6: setjy(fluxdensity=[12,0,0,0], spix=-0.6, reffreq='100GHz') on the oracle's tiny.ms."""
    freq = np.array([97.0078125e9, 98.9453125e9, 109.664812e9, 184.19e9])
    casa = [12.22073174, 12.07658386, 11.35379028, 8.31805134]
    assert SourceModel.power_law([12.0], [-0.6], 100e9).spectrum(freq) == pytest.approx(casa, rel=1e-7)


def test_curvature_uses_log10() -> None:
    """CASA's XX and YY for fluxdensity=[12,1,2,0.5], spix=[-0.6,3], reffreq='90GHz' at both ends of spw 1."""
    freq = np.array([109.664812e9, 109.895525e9])
    model = SourceModel.power_law([12, 1, 2, 0.5], [-0.6, 3.0], 90e9)
    casa = [[12.14915752, 10.280056], [12.14705563, 10.27827835]]
    assert model.visibilities(freq, [9, 12]) == pytest.approx(np.array(casa), rel=2e-6)


def test_stokes_parameters_scale_together() -> None:
    model = SourceModel.power_law([10, 1, -2, 0.5], [-1.0], 1e9)
    assert model.stokes([1e9, 2e9]) == pytest.approx(np.array([[10, 1, -2, 0.5], [5, 0.5, -1, 0.25]]))


def test_correlations_of_both_feeds() -> None:
    model = SourceModel.power_law([10, 1, 2, 0.5])
    assert model.visibilities(1e9, LINEAR)[0] == pytest.approx([11, 2 + 0.5j, 2 - 0.5j, 9])
    assert model.visibilities(1e9, CIRCULAR)[0] == pytest.approx([10.5, 1 + 2j, 1 - 2j, 9.5])
    assert model.visibilities(1e9, [1, 2, 3, 4])[0] == pytest.approx([10, 1, 2, 0.5])
    assert model.visibilities(1e9, LINEAR).dtype == np.complex64


def test_one_flux_for_all_channels() -> None:
    model = SourceModel((LogPolynomial((1.0, -1.0)),), fixed=2e9)
    assert model.spectrum([1e9, 3e9, 9e9]) == pytest.approx([5, 5, 5])


def test_pieces_begin_above_their_start() -> None:
    model = SourceModel((LogPolynomial((0.0,)), LogPolynomial((1.0,), start=10e9)))
    assert model.spectrum([9e9, 10e9, 10.1e9]) == pytest.approx([1, 1, 10])


def test_goes_through_json_unchanged() -> None:
    import json

    model = SourceModel((LogPolynomial((1.2, -0.5), 150e6), LogPolynomial((2.0,), 1e9, 10e9)), (0.1, 0, 0), 3e9, "x")
    assert SourceModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_bad_models_are_refused() -> None:
    with pytest.raises(FluxModelError, match="above 0 Jy; -1 Jy was given"):
        SourceModel.power_law([-1.0])
    with pytest.raises(FluxModelError, match="kind 'disk'"):
        SourceModel.from_dict({"kind": "disk"})
    with pytest.raises(FluxModelError, match="code 13"):
        SourceModel.power_law([1.0]).visibilities(1e9, [13])
