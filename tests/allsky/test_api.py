"""The client of a telescope over real HTTP: both generations, logins, and servers that misbehave."""

from __future__ import annotations

import logging
import socket
import time

import fabricated_array as made
import pytest

from calibrant.allsky import secrets
from calibrant.allsky.api import Catalogue, Telescope, checked_url
from calibrant.errors import ParameterError, ServerError
from calibrant.simulation.tart_api import FakeTelescope, Fault, serve

GAINS = {"gain": [2.0] * 6, "phase_offset": [0.5] * 6}


def test_reads_everything_of_either_generation(both: FakeTelescope, both_api: Telescope) -> None:
    assert both_api.info()["info"]["name"] == "Test Hill"
    assert both_api.positions() == made.POSITIONS
    assert both_api.gains() == made.content()["gains"]
    assert both_api.timestamp() == made.TIMES[0]
    assert both_api.visibilities() == made.content()["data"][0][0]
    assert both_api.mode() == "vis"
    assert both_api.channels()[5] == {"channel_id": 5, "enabled": 1}
    assert both_api.channel_status()[2]["phase"]["stability"] == 1.0
    assert both_api.fpga_status()["AQ_SYSTEM"]["enabled"] == 1


def test_no_visibilities_yet_is_an_empty_list(both: FakeTelescope, both_api: Telescope) -> None:
    both.blind = True
    assert both_api.visibilities() == {"data": []}
    assert both_api.timestamp() == ""


def test_nan_of_an_old_server_is_null(telescope: FakeTelescope, api: Telescope) -> None:
    telescope.gains["gain"][3] = float("nan")
    assert api.gains()["gain"][3] is None


def test_login_and_upload_send_exactly_the_two_lists(both: FakeTelescope, both_api: Telescope) -> None:
    both_api.login(made.PASSWORD)
    both_api.upload_gains(**GAINS)
    both_api.upload_positions(made.turned(30.0))
    sent = both.calls("POST", "calibration")
    assert [one.body for one in sent] == [GAINS, made.turned(30.0)]
    assert {one.scheme for one in sent} == {"JWT"}
    assert both_api.gains() == GAINS and both_api.positions() == made.turned(30.0)


def test_expired_token_is_refreshed_once(both: FakeTelescope, both_api: Telescope) -> None:
    both_api.login(made.PASSWORD)
    both.expire()
    both_api.upload_gains(**GAINS)
    assert both_api.gains() == GAINS
    refreshed = ["refresh"] if both.generation == "flask" else ["refresh", "auth/refresh"]
    posts = [one.path for one in both.calls("POST")]
    assert posts == ["auth", "calibration/gain", *refreshed, "calibration/gain"]


def test_login_is_repeated_where_no_refresh_works(both: FakeTelescope, both_api: Telescope) -> None:
    both_api.login(made.PASSWORD)
    both.expire()
    both.faults = [Fault("refuse", "refresh"), Fault("error", "auth/refresh")]
    both_api.upload_gains(**GAINS)
    assert [one.path for one in both.calls("POST")] == [
        "auth", "calibration/gain", "refresh", "auth/refresh", "auth", "calibration/gain",
    ]  # fmt: skip


def test_a_server_that_refuses_every_token_is_given_up(both: FakeTelescope, both_api: Telescope) -> None:
    both_api.login(made.PASSWORD)
    both.token_s = -1.0
    both.expire()
    with pytest.raises(ServerError, match=r"login was refused .* also after it was renewed"):
        both_api.upload_gains(**GAINS)
    assert len(both.calls("POST", "calibration/gain")) == 3
    assert len(both.calls("POST")) < 10


def test_wrong_password(both: FakeTelescope, both_api: Telescope) -> None:
    with pytest.raises(ServerError, match=r"password was refused.*Bad username or password") as caught:
        both_api.login("hunter2-wrong")
    assert "hunter2-wrong" not in str(caught.value)
    assert len(both.calls("POST")) == 1


def test_posts_want_a_login_first(api: Telescope, telescope: FakeTelescope) -> None:
    with pytest.raises(ServerError, match="not logged in"):
        api.upload_gains(**GAINS)
    assert not telescope.requests


def test_secrets_are_in_no_message_repr_or_log(
    telescope: FakeTelescope, api: Telescope, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.login(made.PASSWORD)
    token = next(iter(telescope.tokens))
    # The new server shows what it was sent in its answer.
    telescope.tokens[f"{token}"] = telescope.tokens[token]
    with pytest.raises(ServerError) as caught:
        api.upload_gains([made.PASSWORD], [token])  # type: ignore[list-item]
    assert caught.value.status == 422
    shown = str(caught.value) + repr(api) + caplog.text
    assert made.PASSWORD not in shown and token not in shown and "***" in shown


def test_a_password_with_quotes_is_cut_out_of_an_answer_that_repeats_the_call(api: Telescope) -> None:
    api._secrets.add('pass"wörd')
    for echo in ('pass"wörd', 'pass\\"wörd', 'pass\\"w\\u00f6rd'):
        assert api._redacted(f"input: {echo}.") == "input: ***."


def test_get_is_repeated_after_500_but_not_for_ever(telescope: FakeTelescope, api: Telescope) -> None:
    telescope.faults = [Fault("error", "info", times=2)]
    assert api.info()["info"]["name"] == "Test Hill"
    telescope.faults = [Fault("error", "info")]
    telescope.requests.clear()
    with pytest.raises(ServerError, match=r"GET .*/info: answered 500 '<html>.*Internal Server Error") as caught:
        api.info()
    assert len(telescope.requests) == 3 and caught.value.status == 500


def test_post_is_not_repeated(telescope: FakeTelescope, api: Telescope) -> None:
    api.login(made.PASSWORD)
    telescope.faults = [Fault("error", "calibration/gain", times=1)]
    with pytest.raises(ServerError, match="answered 500"):
        api.upload_gains(**GAINS)
    assert len(telescope.calls("POST", "calibration/gain")) == 1


def test_slow_server(telescope: FakeTelescope, url: str) -> None:
    telescope.faults = [Fault("slow", "info", seconds=1.0)]
    start = time.monotonic()
    with (
        Telescope(url, timeout_s=0.1, backoff_s=(0.01,)) as hasty,
        pytest.raises(ServerError, match=r"no answer within 0\.1 s") as caught,
    ):
        hasty.info()
    assert time.monotonic() - start < 1.0 and caught.value.status == 0


def test_page_instead_of_json(telescope: FakeTelescope, api: Telescope) -> None:
    telescope.faults = [Fault("html", "info")]
    with pytest.raises(ServerError, match=r"Welcome to nginx.*instead of JSON; is this the address of a telescope\?"):
        api.info()


def test_json_of_something_else(telescope: FakeTelescope, api: Telescope) -> None:
    telescope.positions = {"no": "positions"}  # type: ignore[assignment]
    with pytest.raises(ServerError, match=r"answered .*no.*expected \[\[e, n, u\]"):
        api.positions()


def test_visibilities_of_another_kind(telescope: FakeTelescope, api: Telescope) -> None:
    with pytest.raises(ServerError, match=r"imaging/vis: answered .*expected .*\"i\", \"j\", \"re\""):
        telescope._visibilities = lambda: (200, {"data": [{"baseline": 1}]})  # type: ignore[method-assign]
        api.visibilities()


def test_unknown_path_is_not_asked_again(both: FakeTelescope, both_api: Telescope) -> None:
    with pytest.raises(ServerError, match=r"answered 404.*without /api/v1"):
        both_api.get("nonsense")
    assert len(both.requests) == 1


def test_unreachable_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with (
        Telescope(f"http://127.0.0.1:{port}", backoff_s=(0.01,)) as api,
        pytest.raises(ServerError, match="check the address, and whether a telescope is switched on"),
    ):
        api.info()


def test_reads_follow_redirects_but_passwords_do_not(telescope: FakeTelescope, api: Telescope) -> None:
    telescope.faults = [
        Fault("redirect", "info", where="/api/v1/mode"),
        Fault("redirect", "auth", where="/api/v1/elsewhere"),
    ]
    assert "modes" in api.get("info")
    with pytest.raises(ServerError, match=r"redirected to /api/v1/elsewhere; passwords and gains are sent"):
        api.login(made.PASSWORD)
    assert not telescope.calls("POST", "elsewhere")


def test_redirect_in_a_circle(telescope: FakeTelescope, api: Telescope) -> None:
    telescope.faults = [Fault("redirect", "info", where="/api/v1/info")]
    with pytest.raises(ServerError, match="redirected in a circle"):
        api.info()


def test_catalogue_is_that_of_the_time_asked_for(url: str) -> None:
    with Catalogue(f"{url}/catalog") as service:
        assert service.sources(-45.9, 170.5, 270.0, made.TIMES[1])[0]["az"] == 32.0
        assert service.sources(-45.9, 170.5, 270.0, "2026-11-21T23:11:00+13:00")[0]["az"] == 34.0


def test_catalogue_service_that_answers_with_an_exception(url: str) -> None:
    with (
        Catalogue(f"{url}/catalog") as service,
        pytest.raises(ServerError, match=r"Exception: Missing Required Parameter.*instead of JSON"),
    ):
        service.get("catalog")


def test_catalogue_service_without_json_list(telescope: FakeTelescope, url: str) -> None:
    with (
        Catalogue(f"{url}/api/v1/mode#") as service,
        pytest.raises(ServerError),
    ):
        service.sources(0.0, 0.0, 0.0, "")


@pytest.mark.parametrize("written", ["{}", "{}/", "{}/api/v1", " {}/api/v1/ "])
def test_addresses_are_taken_as_people_write_them(written: str) -> None:
    assert checked_url(written.format("https://a.example/tart/hill")) == "https://a.example/tart/hill"


@pytest.mark.parametrize("written", ["a.example/tart", "ftp://a.example", "", "https://"])
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(ParameterError, match="is no address; expected it as https://"):
        checked_url(written)


def test_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ParameterError, match="holds a user or password") as caught:
        checked_url("https://admin:hunter2@a.example")
    assert "hunter2" not in str(caught.value)


def test_password_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in secrets.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ParameterError, match="set CALIBRANT_TART_PASSWORD in the environment"):
        secrets.password("https://a.example")
    monkeypatch.setenv("TART_LOGIN_PW", "old")
    assert secrets.password("https://a.example") == "old"
    monkeypatch.setenv("CALIBRANT_TART_PASSWORD", "new")
    assert secrets.password("https://a.example") == "new"


def test_password_from_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in secrets.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed")
    assert secrets.password("https://a.example") == "typed"


def test_fake_refuses_what_the_new_generation_refuses(telescope: FakeTelescope, api: Telescope) -> None:
    api.login(made.PASSWORD)
    with pytest.raises(ServerError) as caught:
        api._post("calibration/gain", {**GAINS, "rot_degrees": 0.0})
    assert caught.value.status == 422
    with pytest.raises(ServerError) as caught:
        api._post("calibration/gain", {"gain": [None] * 6, "phase_offset": [0.0] * 6})
    assert caught.value.status == 422


def test_fake_dies_for_good(telescope: FakeTelescope) -> None:
    telescope.faults = [Fault("die", after=2)]
    with serve(telescope) as url, Telescope(url, backoff_s=(0.01, 0.1)) as api:
        api.info(), api.positions()
        with pytest.raises(ServerError):
            api.gains()
        with pytest.raises(ServerError, match=r"refused|reset|disconnected"):
            api.info()
