"""Which requests the web page answers."""

import asyncio

import pytest

from utils.demo.same_origin import SameOrigin, without_port


def status(local: bool, kind: str = "http", method: str = "POST", **headers: str) -> int | str:
    """Status of the answer to a request with these headers."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        sent.append(message)

    scope = {
        "type": kind,
        "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(SameOrigin(app, local)(scope, None, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "127.0.0.1"])
def test_this_computer_is_answered(host):
    assert status(True, host=host) == status(True, host=host, origin=f"http://{host}") == 200


def test_other_sites_are_refused():
    assert status(True, host="evil.example:7860") == 403
    assert status(True) == 403
    assert status(True, method="GET", host="evil.example") == 403
    assert status(True, method="GET", host="127.0.0.1", origin="null") == 200
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null", "http://127.0.0.1:7860.evil.example"):
        assert status(True, host="127.0.0.1:7860", origin=origin) == 403
    assert status(True, "websocket", host="evil.example") == "websocket.close"


def test_on_other_addresses_any_name_is_answered_but_no_other_origin():
    assert status(False, host="my-server:7860", origin="http://my-server:7860") == 200
    assert status(False, host="my-server:7860", origin="http://evil.example") == 403


def test_names_without_ports():
    assert [without_port(host) for host in ("a:1", "a", "[::1]:2", "[::1]", "")] == ["a", "a", "::1", "::1", ""]
