"""The API key and the login (user and password) of a hosted scorer, and the HTTP headers that contain them."""

from __future__ import annotations

import base64
import os
from typing import Any
from urllib.parse import unquote, urlsplit

from podium.errors import InvalidInput, MissingKey
from podium.hosted.providers import Provider

__all__ = ["Credentials", "split_login"]


class Credentials:
    """The headers that authorise requests, and the secrets in these headers. The repr, which debuggers show, has none of them.

    - `api_key`: the key, None to read it from the provider's environment variable.
    - `login`: "user:password", None if there is none.
    - `is_required`: whether to raise MissingKey if there is no key.

    Raises InvalidInput if the key is not a string, and MissingKey if it is missing or an HTTP header cannot contain it.
    """

    __slots__ = ("headers", "secrets")

    def __init__(self, provider: Provider, api_key: Any, login: str | None, *, is_required: bool) -> None:
        self.headers: dict[str, str] = {}
        self.secrets: list[str] = []
        if key := _checked_key(provider, api_key, is_required=is_required):
            self.headers[provider.key_header] = provider.key_format.format(key)
            self.secrets.append(key)
        if login is not None:
            self.headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
            self.secrets += [login.partition(":")[2], self.headers["Authorization"]]

    def __repr__(self) -> str:
        return "<credentials>"


def split_login(url: str | None) -> tuple[str | None, str | None]:
    """Return a URL without its login, and the login as "user:password", None if there is none. httpx logs URLs."""
    if url is None or "@" not in urlsplit(url).netloc:
        return url, None
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    return parts._replace(netloc=host).geturl(), f"{unquote(user)}:{unquote(password)}"


def _checked_key(provider: Provider, api_key: Any, *, is_required: bool) -> str | None:
    """Return `api_key`, or else the key in the environment, or else None. Raises the errors of Credentials."""
    if api_key is not None and not isinstance(api_key, str):
        raise InvalidInput(f"api_key must be a string, not a {type(api_key).__name__}")
    variable = provider.key_variable
    key = (api_key or (os.environ.get(variable, "") if variable else "")).strip()
    if key and not (key.isascii() and key.isprintable()):
        raise MissingKey(f"the API key for {provider.title} has characters that an HTTP header cannot contain; copy it again")
    if not key and is_required and variable:
        raise MissingKey(
            f"{provider.title} needs an API key; set the environment variable {variable}, or in Python pass api_key"
        )
    return key or None
