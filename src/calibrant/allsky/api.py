"""A telescope's web API, in both generations, and the catalogue service; over HTTP, with limited patience.

    with Telescope("https://tart.elec.ac.nz/signal") as api:
        api.info(), api.visibilities()

Paths below `URL/api/v1/`. Reads are public; POSTs need `login`. Only GETs are repeated when a call fails. A token
that is no longer accepted is renewed once (`refresh` of the old generation, `auth/refresh` of the new one), then the
login is repeated once; there is no recursion. Tokens and passwords are cut out of every message.
"""

from __future__ import annotations

import json
import time
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from calibrant.errors import ParameterError, ServerError

if TYPE_CHECKING:
    import ssl

    import httpx

TIMEOUT_S = 15.0
BACKOFF_S = (0.5, 1.5)
"""Pauses before a GET is repeated; their number is the number of repetitions."""
CATALOGUE_URL = "https://tart.elec.ac.nz/catalog"
"""The public catalogue of satellites and sun, for any place."""
USER = "admin"
WORDS = 160
"""So much of an unexpected answer is shown."""
MOST_BYTES = 2**28
"""A file of a telescope may be so large: a raw one of 24 antennas and 2^24 samples has 5e7."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Server:
    """An HTTP server that answers in JSON. Use it with `with`, or call `close`."""

    what = "a server"

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, backoff_s: tuple[float, ...] = BACKOFF_S) -> None:
        import httpx

        self.url = checked_url(url)
        self.backoff_s = backoff_s
        self._secrets: set[str] = set()
        # A proxy of the environment is not asked for servers on this machine.
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s),
            trust_env=not self.is_local,
            verify=_certificates(),
            headers={"Accept": "application/json"},
        )
        self.timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    @property
    def is_local(self) -> bool:
        return urlsplit(self.url).hostname in LOOPBACK

    @property
    def is_open_to_listeners(self) -> bool:
        """True where a password would travel unencrypted through a network."""
        return urlsplit(self.url).scheme == "http" and not self.is_local

    def address(self, path: str) -> str:
        return f"{self.url}/{path}"

    def get(self, path: str, patient: bool = True, query: dict[str, Any] | None = None) -> Any:
        """The JSON that a GET answers; repeated after failures of the network and of the server if `patient`."""
        return self._json(self._get(path, patient, query))

    def _get(self, path: str, patient: bool = True, query: dict[str, Any] | None = None) -> httpx.Response:
        pauses = self.backoff_s if patient else ()
        for pause in (*pauses, None):
            try:
                return self._good(self._call("GET", path, params=query, follow_redirects=True))
            except ServerError as error:
                if pause is None or 0 < error.status < 500:
                    raise
            time.sleep(pause)
        raise ServerError(f"GET {self.address(path)}: no answer")

    def _call(self, method: str, path: str, **how: Any) -> httpx.Response:
        """One HTTP call; ServerError with status 0 where no answer came."""
        import httpx

        call = f"{method} {self.address(path)}"
        try:
            return self._client.request(method, self.address(path), **how)
        except httpx.TimeoutException:
            raise ServerError(
                f"{call}: no answer within {self.timeout_s:g} s; is {self.what} switched on and the network up? "
                "--timeout gives it longer"
            ) from None
        except httpx.TooManyRedirects:
            raise ServerError(f"{call}: redirected in a circle; check the address", 310) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(
                f"{call}: {self._redacted(str(error)) or type(error).__name__}; check the address, and whether "
                f"{self.what} is switched on and in the network"
            ) from None

    def _good(self, answer: httpx.Response) -> httpx.Response:
        """The answer, if its status says so; else ServerError."""
        call = f"{answer.request.method} {answer.request.url}"
        status = answer.status_code
        if answer.is_success:
            return answer
        if answer.is_redirect:
            where = answer.headers.get("location", "elsewhere")
            raise ServerError(
                f"{call}: redirected to {where}; passwords and gains are sent to the address given only. "
                "Give the final one, perhaps with https", status
            )  # fmt: skip
        advice = {
            404: "check the address (with the telescope's name, without /api/v1)",
            401: "the login is not accepted",
            403: "this is not allowed to you",
            422: "the server does not take these values",
            429: "ask less often",
        }.get(
            status, "the server has a fault; look at its log or ask again later" if status >= 500 else "check the call"
        )
        raise ServerError(f"{call}: answered {status} {self._words(answer)}; {advice}", status)

    def _json(self, answer: httpx.Response) -> Any:
        try:
            # Old servers write NaN, which is no JSON: null says the same.
            return json.loads(answer.text, parse_constant=lambda _: None)
        except ValueError:
            raise ServerError(
                f"{answer.request.method} {answer.request.url}: answered {answer.status_code} {self._words(answer)} "
                f"instead of JSON; is this the address of {self.what}?", answer.status_code
            ) from None  # fmt: skip

    def _words(self, answer: httpx.Response) -> str:
        words = " ".join(self._redacted(answer.text).split())
        return repr(words if len(words) <= WORDS else words[:WORDS] + "...")

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            # An answer that repeats the call has it as JSON writes it.
            for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
                text = text.replace(form, "***")
        return text


class Telescope(Server):
    """The API of one telescope. `timeout_s` is for each answer; see the module for repetitions."""

    what = "a telescope"

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, backoff_s: tuple[float, ...] = BACKOFF_S) -> None:
        super().__init__(url, timeout_s, backoff_s)
        self._password = self._token = self._refresh_token = ""

    def address(self, path: str) -> str:
        return f"{self.url}/api/v1/{path}"

    def info(self) -> dict[str, Any]:
        """What the telescope says about itself, as it came: {"info": {"name", "location", ...}}."""
        return self._dict("info", "info")

    def positions(self) -> list[list[float]]:
        """[[e, n, u], ...], metres."""
        found = self.get("imaging/antenna_positions")
        found = found.get("antenna_positions", found) if isinstance(found, dict) else found
        if not isinstance(found, list) or not all(_is_place(place) for place in found):
            raise self._odd("imaging/antenna_positions", found, "[[e, n, u], ...]")
        return found

    def gains(self) -> dict[str, Any]:
        """The stored corrections, as they came: {"gain": [...], "phase_offset": [...]}, perhaps with null."""
        found = self._dict("calibration/gain", "gain")
        if not isinstance(found["gain"], list) or not isinstance(found.get("phase_offset"), list):
            raise self._odd("calibration/gain", found, '{"gain": [...], "phase_offset": [...]}')
        return found

    def visibilities(self) -> dict[str, Any]:
        """{"data": [{"i", "j", "re", "im"}, ...], "timestamp"}; {"data": []} while the telescope has none."""
        found = self.get("imaging/vis")
        if found in ([], {}, None):
            return {"data": []}
        rows = found.get("data") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and {"i", "j"} <= row.keys() for row in rows):
            raise self._odd("imaging/vis", found, '{"data": [{"i", "j", "re", "im"}, ...], "timestamp"}')
        return dict(found)

    def timestamp(self) -> str:
        """Time of the latest visibilities; empty where there are none."""
        try:
            text = self._get("imaging/timestamp").text.strip()
        except ServerError as error:
            if error.status == 404:
                return ""
            raise
        return "" if text in ("{}", "null", "[]") else text.strip('"')

    def mode(self) -> str:
        """The mode the telescope is in: off, diag, raw, vis, ..."""
        return str(self._dict("mode/current", "mode", patient=False)["mode"])

    def channels(self) -> list[dict[str, Any]]:
        """[{"channel_id", "enabled"}, ...]."""
        return self._list("channel")

    def channel_status(self) -> list[dict[str, Any]]:
        """Per channel: id, enabled, phase {ok, stability, threshold}, radio_mean {ok, mean, threshold}."""
        return self._list("status/channel")

    def fpga_status(self) -> dict[str, Any]:
        found = self.get("status/fpga", patient=False)
        return found if isinstance(found, dict) else {}

    def login(self, password: str) -> None:
        """Ask for tokens; ServerError where the password is refused. It is kept for one more login later."""
        self._secrets |= {password} - {""}
        self._password = password
        answer = self._call("POST", "auth", json={"username": USER, "password": password})
        found = self._json(answer) if answer.is_success else None
        if answer.status_code == 401 or (isinstance(found, dict) and _refused(found)):
            raise ServerError(
                f"POST {self.address('auth')}: the password was refused ({self._words(answer)}); "
                "it is the LOGIN_PW of the telescope", 401
            )  # fmt: skip
        self._good(answer)
        if not isinstance(found, dict) or not found.get("access_token"):
            raise ServerError(
                f"POST {self.address('auth')}: answered without an access_token; is this the address of a telescope?",
                answer.status_code,
            )
        self._keep(str(found["access_token"]), str(found.get("refresh_token") or ""))

    def refresh(self) -> bool:
        """Renew the access token by either generation's path; False where neither gives one."""
        header = {"Authorization": f"JWT {self._refresh_token}"}
        for path in ("refresh", "auth/refresh"):
            answer = self._call("POST", path, headers=header)
            try:
                found = self._json(answer) if answer.is_success else None
            except ServerError:
                continue
            if isinstance(found, dict) and found.get("access_token"):
                self._keep(str(found["access_token"]), self._refresh_token)
                return True
        return False

    def upload_gains(self, gain: list[float], phase_offset: list[float]) -> None:
        """Store corrections, one of each an antenna, phases in radians. Not repeated when it fails."""
        self._post("calibration/gain", {"gain": gain, "phase_offset": phase_offset})

    def upload_positions(self, positions: list[list[float]]) -> None:
        """Set the antenna positions; a restart of the telescope goes back to those of its configuration."""
        # Both generations take a bare list; only the new one takes an object.
        self._post("calibration/antenna_positions", positions)

    def set_mode(self, mode: str) -> None:
        """Send it into a mode: off, diag, raw, vis, ..."""
        self._post(f"mode/{mode}", None)

    def files(self, kind: str) -> list[dict[str, Any]]:
        """The newest files of kind raw or vis: [{"filename", "checksum" (sha256), "timestamp"}, ...]."""
        return self._list(f"{kind}/data")

    def samples_exponent(self, kind: str) -> int:
        """An acquisition of kind raw or vis takes 2 to the power of this samples."""
        return int(self._dict(f"acquire/{kind}/num_samples_exp", "N_samples_exp", patient=False)["N_samples_exp"])

    def set_samples_exponent(self, kind: str, exponent: int) -> None:
        """Telescopes ignore what they cannot do, and say that all is well: read it back."""
        self._post(f"acquire/{kind}/num_samples_exp/{exponent}", None, "PUT")

    def set_saving(self, kind: str, on: bool) -> None:
        """Whether acquisitions of kind raw or vis are written into files."""
        self._post(f"acquire/{kind}/save/{int(on)}", None, "PUT")

    def download(self, filename: str, timeout_s: float, most_bytes: int = MOST_BYTES) -> bytes:
        """A file that `files` lists. Not repeated; ServerError where it takes longer in all, or is too large."""
        import httpx

        where = f"{self.url}/{filename.lstrip('/')}"
        until, content = time.monotonic() + timeout_s, bytearray()
        try:
            with self._client.stream("GET", where, follow_redirects=True) as answer:
                if not answer.is_success:
                    raise ServerError(f"GET {where}: answered {answer.status_code}", answer.status_code)
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > most_bytes or time.monotonic() > until:
                        limit = f"{most_bytes} bytes" if len(content) > most_bytes else f"{timeout_s:g} s"
                        raise ServerError(f"GET {where}: not complete after {limit}; it was given up")
        except httpx.HTTPError as error:
            raise ServerError(f"GET {where}: broke off ({error or type(error).__name__})") from None
        return bytes(content)

    def _post(self, path: str, body: Any, method: str = "POST") -> None:
        """A call with the token; where it is no longer accepted: refreshed once, then a new login once."""
        call = f"{method} {self.address(path)}"
        if not self._token:
            raise ServerError(f"{call}: not logged in", 401)
        answer = self._post_once(path, body, method)
        for renew in (self.refresh, self._login_again):
            if not self._is_refused(answer):
                break
            if renew():
                answer = self._post_once(path, body, method)
        if not self._is_refused(answer):
            self._good(answer)
            return
        raise ServerError(
            f"{call}: the login was refused ({self._words(answer)}), also after it was renewed; "
            "check the clock of the telescope and the password", 401
        )  # fmt: skip

    def _post_once(self, path: str, body: Any, method: str) -> httpx.Response:
        return self._call(method, path, json=body, headers={"Authorization": f"JWT {self._token}"})

    def _is_refused(self, answer: httpx.Response) -> bool:
        return answer.status_code == 401 or (answer.is_success and _refused(self._json(answer)))

    def _login_again(self) -> bool:
        if not self._password:
            return False
        self.login(self._password)
        return True

    def _keep(self, token: str, refresh_token: str) -> None:
        self._token, self._refresh_token = token, refresh_token
        self._secrets |= {secret for secret in (token, refresh_token) if secret}

    def _dict(self, path: str, key: str, patient: bool = True) -> dict[str, Any]:
        found = self.get(path, patient)
        if not isinstance(found, dict) or key not in found:
            raise self._odd(path, found, f'{{"{key}": ...}}')
        return found

    def _list(self, path: str) -> list[dict[str, Any]]:
        found = self.get(path, patient=False)
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def _odd(self, path: str, found: Any, expected: str) -> ServerError:
        shown = self._redacted(json.dumps(found))[:WORDS]
        return ServerError(f"GET {self.address(path)}: answered {shown}, expected {expected}; is it a telescope?", 200)


class Catalogue(Server):
    """The service that says which satellites stand where in the sky."""

    what = "a catalogue service"

    def sources(self, latitude_deg: float, longitude_deg: float, height_m: float, date: str) -> list[dict[str, Any]]:
        """[{"name", "az", "el", "r", "jy"}, ...] at an ISO time (empty: now)."""
        query: dict[str, Any] = {"lat": latitude_deg, "lon": longitude_deg, "alt": height_m}
        if date:
            query["date"] = date
        found = self.get("catalog", query=query)
        if not isinstance(found, list) or not all(isinstance(item, dict) and "az" in item for item in found):
            shown = json.dumps(found)[:WORDS]
            raise ServerError(
                f"GET {self.address('catalog')}: answered {shown}, expected [{{name, az, el, r}}, ...]", 200
            )
        return found


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(one, int | float) for one in value)


@cache
def _certificates() -> ssl.SSLContext:
    """Read once a process: it takes longer than a call."""
    import httpx

    return httpx.create_ssl_context()


def _refused(found: Any) -> bool:
    """Old servers answer an expired token with status 200 and a body that says 401."""
    return isinstance(found, dict) and 401 in (found.get("status"), found.get("status_code"))


def checked_url(url: str) -> str:
    """An address without its end `/` and `/api/v1`; ParameterError where it is none, or holds a password."""
    text = url.strip().rstrip("/").removesuffix("/api/v1").rstrip("/")
    parts = urlsplit(text)
    if parts.username or parts.password:
        raise ParameterError(
            "the address holds a user or password; leave them out: passwords are asked or in the environment"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ParameterError(f"{url!r} is no address; expected it as https://tart.elec.ac.nz/signal")
    return text
