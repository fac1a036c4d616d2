"""Requests to the web page from other sites are refused.

A browser sends any site's forms to this computer, too, and a site may give its own name the address of this computer
(DNS rebinding). The first has another `Origin` than `Host`; the second has the site's name as `Host`.
"""

from collections.abc import Awaitable, Callable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
REFUSAL = b"this page answers requests of its own address only\n"


class SameOrigin:
    """ASGI middleware: answers 403 to requests that change something and come from another origin.

    local: also to requests for another name than this computer's.
    """

    def __init__(self, app: Callable, local: bool):
        self.app, self.local = app, local

    async def __call__(self, scope: dict, receive: Callable[[], Awaitable], send: Callable[[dict], Awaitable]):
        if scope["type"] in ("http", "websocket") and not self._is_own(scope):
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008})
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": REFUSAL})
        return await self.app(scope, receive, send)

    def _is_own(self, scope: dict) -> bool:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if self.local and without_port(host) not in LOOPBACK:
            return False
        changes_nothing = scope.get("method") in ("GET", "HEAD")  # its answer stays hidden from other sites
        return changes_nothing or not origin or origin.partition("://")[2] == host


def without_port(host: str) -> str:
    """The name in a Host header: "localhost:7860" -> "localhost", "[::1]:7860" -> "::1"."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
