"""A check that refuses requests of foreign web pages to a server without API keys.

Any web page can make a browser send requests to the user's machine and network. But the browser names the page's site in the
header `Origin`. If the site's own name resolves to the user's machine (DNS rebinding), the header `Host` names the site.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping

from podium.server.dialects.call import Refusal
from podium.server.settings import Settings

__all__ = ["check_origin"]

# Content types that a page of any site may send. For all others, the browser first requests permission (a CORS preflight).
SIMPLE_CONTENT_TYPES = {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\\\[\]@]+)(:\d{1,5})?", re.ASCII)


def check_origin(headers: Mapping[str, str], settings: Settings) -> None:
    """Raise Refusal if the host name, the origin or the content type show that a foreign page may have sent the request."""
    host = headers.get("host", "")
    if host and not _is_own_host(host, settings):
        raise Refusal(
            403, f"this server does not accept the host name {host[:100]!r}; start it with --allowed-host, or with API keys"
        )
    origin = headers.get("origin")
    if origin is not None and not _is_own_origin(origin, host, headers, settings):
        raise Refusal(403, f"pages of {origin[:100]!r} may not use this server; start it with --cors-origin, or with API keys")
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in SIMPLE_CONTENT_TYPES:
        raise Refusal(415, f"the Content-Type is {content_type}; send JSON with Content-Type: application/json")


def _is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own_host(host: str, settings: Settings) -> bool:
    """Whether a host cannot be a foreign site: it is an address, a name without a dot, or a name of this server or machine.

    If the settings allow every host (`*`), it is. Raises Refusal if `host` is malformed.
    """
    if not (match := _HOST.fullmatch(host)):
        raise Refusal(400, "the Host header is not a host name or an address")
    name = match[1].strip("[]").rstrip(".").lower()
    own_names = {settings.host.lower(), socket.gethostname().lower(), *map(str.lower, settings.allowed_hosts)}
    if name in own_names or "*" in own_names:
        return True
    has_no_domain = "." not in name and ":" not in name
    return has_no_domain or _is_address(name)


def _is_own_origin(origin: str, host: str, headers: Mapping[str, str], settings: Settings) -> bool:
    """Whether the settings allow an origin, or it is the origin of this server's own pages."""
    if "*" in settings.cors_origins or origin in settings.cors_origins:
        return True
    # A proxy in front of the server may change the header Host, but not Sec-Fetch-Site, which the browser computes.
    is_same_host = bool(host) and origin.partition("://")[2].lower() == host.lower()
    return is_same_host or headers.get("sec-fetch-site") == "same-origin"
