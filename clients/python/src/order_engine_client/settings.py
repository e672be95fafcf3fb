"""Where the server is, and the key: what is given, the environment, and the file that all clients of order-engine share."""

from __future__ import annotations

import ipaddress
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import SettingsError

URL_DEFAULT = "http://127.0.0.1:3000"


class Settings(NamedTuple):
    """What a client needs to know."""

    url: str
    key: str | None


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Returns the settings of the environment, and where it says nothing those of the file."""

    def named(name: str) -> str | None:
        return environment.get(name, "").strip() or None

    folder = named("XDG_CONFIG_HOME") or os.path.join(named("HOME") or str(Path.home()), ".config")
    usual = Path(folder, "order-engine/cli.toml")
    config = named("ORDER_ENGINE_CONFIG")
    file = read_file(Path(config or usual)) if config or usual.exists() else Settings("", None)
    return Settings(named("ORDER_ENGINE_URL") or file.url or URL_DEFAULT, named("ORDER_ENGINE_KEY") or file.key)


def checked(url: str, key: str | None, insecure_http: bool) -> Settings:
    """Checks an address and a key, and returns them as they are used."""
    try:
        parts = urlsplit(url)
        port_is_known = parts.port is None or parts.port > 0
    except ValueError:
        raise SettingsError("the address of the server is no URL") from None
    is_known = parts.scheme in ("http", "https") and parts.hostname and port_is_known
    if not is_known or "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError("the address of the server must be http://host:port or https://host:port, without a user")
    key = (key or "").strip() or None
    if key and parts.scheme == "http" and not is_loopback(parts.hostname or "") and not insecure_http:
        raise SettingsError(
            "the key is not sent over http:// to another machine, because everybody on the way could read it: "
            "use https://, or insecure_http"
        )
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise SettingsError("the key has characters that no key has")
    return Settings(url.rstrip("/"), key)


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_file(path: Path) -> Settings:
    """Reads the file. No message shows a line, which may have the key."""
    unusable = SettingsError(f"{path} must have url, and key or key_file, and nothing else")
    try:
        file = tomllib.loads(read(path))
    except tomllib.TOMLDecodeError:
        raise unusable from None
    if not set(file) <= {"url", "key", "key_file"} or not all(isinstance(text, str) for text in file.values()):
        raise unusable
    key = file.get("key")
    if key is not None:
        check_private(path)
        if "key_file" in file:
            raise SettingsError(f"{path} has both key and key_file")
    if "key_file" in file:
        key_file = path.parent / file["key_file"]
        key = read(key_file)
        check_private(key_file)
    return Settings(file.get("url", "").strip(), (key or "").strip() or None)


def read(path: Path) -> str:
    """Reads a text."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {type(error).__name__}") from None


def check_private(path: Path) -> None:
    """Checks that only its owner reads a file that has a key."""
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingsError(f"{path} has a key, and others may read it: chmod 600 {path}")
