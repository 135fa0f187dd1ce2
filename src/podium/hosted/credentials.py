"""The API key and the login of a hosted scorer, and the headers that send them."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from podium.errors import InvalidInput, MissingKey
from podium.hosted.providers import Provider

__all__ = ["Credentials", "Login", "split_login"]


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A user and a password. The repr has neither."""

    user: str
    password: str


class Credentials:
    """The headers that authorise requests, and the secrets in them. The repr, which debuggers show, has neither."""

    __slots__ = ("headers", "secrets")

    def __init__(self, headers: Mapping[str, str], secrets: Sequence[str]) -> None:
        self.headers = headers
        self.secrets = secrets

    def __repr__(self) -> str:
        return "<credentials>"

    @classmethod
    def of(cls, provider: Provider, api_key: Any, login: Login | None, *, is_required: bool) -> Credentials:
        """Return the credentials for a provider. Raises InvalidInput, and MissingKey if a key is required."""
        headers: dict[str, str] = {}
        secrets: list[str] = []
        if key := _checked_key(provider, api_key, is_required=is_required):
            headers[provider.key_header] = provider.key_format.format(key)
            secrets.append(key)
        if login is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
            secrets += [login.password, headers["Authorization"]]
        return cls(headers, secrets)


def split_login(url: str | None) -> tuple[str | None, Login | None]:
    """Return the URL without user and password, because httpx logs URLs, and the login, None if the URL has none."""
    if url is None or "@" not in urlsplit(url).netloc:
        return url, None
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    return parts._replace(netloc=host).geturl(), Login(unquote(user), unquote(password))


def _checked_key(provider: Provider, api_key: Any, *, is_required: bool) -> str | None:
    """Return `api_key`, else the key in the environment, else None."""
    if api_key is not None and not isinstance(api_key, str):
        raise InvalidInput(f"api_key must be a string, not a {type(api_key).__name__}")
    variable = provider.key_variable
    key = (api_key or (os.environ.get(variable, "") if variable else "")).strip()
    if key and not (key.isascii() and key.isprintable()):
        raise MissingKey(f"the API key for {provider.title} has characters that an HTTP header cannot contain; copy it again")
    if not key and is_required and variable:
        raise MissingKey(f"{provider.title} needs an API key; set {variable}, or pass api_key")
    return key or None
