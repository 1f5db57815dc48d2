"""Where settings are read from: a TOML file, `.env` and the environment, each into one tree of plain values."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dotenv import load_dotenv
from dotenv.parser import parse_stream

from voice_agent.errors import SettingsError

ENV_PREFIX: Final = "VOICE_AGENT_"
CONFIG_VARIABLE: Final = "VOICE_AGENT_CONFIG"
DEFAULT_CONFIG: Final = Path("voice-agent.toml")
DOT_ENV: Final = Path(".env")

OF_A_CONTAINER: Final = (
    (r"(\w+_)?SERVICE_(HOST|PORT)|(\w+_)?SERVICE_PORT_\w+", r".*"),
    (r"(\w+_)?PORT(_\d+_(TCP|UDP|SCTP))?", r"(tcp|udp|sctp)://.*"),
    (r"(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)", r".*"),
    (r"([A-Z0-9]+_)*NAME", r"/.*"),
    (r"([A-Z0-9]+_)*ENV_\w+", r".*"),
)
"""Patterns of a variable's name, without our prefix, and of its value: what Kubernetes sets in every container for a
service called `voice-agent` or `voice-agent-llm` (kubernetes.io, "Accessing the Service"), and Docker for a container
linked under such a name (docs.docker.com, "Legacy container links"). They name no settings."""


def config_file() -> Path | None:
    """The TOML file that is read: the one named by `VOICE_AGENT_CONFIG`, else the default where there is one.

    Raises:
        SettingsError: what was named, or has the default's name, is no file.
    """
    named = os.environ.get(CONFIG_VARIABLE, "").strip()
    path = Path(os.path.expanduser(named)) if named else DEFAULT_CONFIG  # noqa: PTH111 - a path with no home stays
    if _is_file(path):
        return path
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder, not a configuration file")
    if named:
        raise SettingsError(f"{path}: no such configuration file (from --config or {CONFIG_VARIABLE})")
    return None


def load_dot_env() -> None:
    """Make what `.env` sets, where there is one, part of the environment; what is set there stays.

    Raises:
        SettingsError: it can't be read, or a line of it is not NAME=value.
    """
    if not _is_file(DOT_ENV):
        return
    text = _text(DOT_ENV)
    broken = next((binding for binding in parse_stream(StringIO(text)) if binding.error), None)
    if broken:
        text = broken.original.string
        number = broken.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        # The line itself may hold a key.
        raise SettingsError(f"{DOT_ENV}, line {number}: is not NAME=value; is a quote left open?")
    try:
        load_dotenv(stream=StringIO(text), override=False)
    except ValueError as error:
        raise SettingsError(f"{DOT_ENV}: {error}") from error


def from_file(path: Path | None) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        SettingsError: it can't be read, or is not TOML.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a folder above it that we may not enter
        raise SettingsError(f"{path}: can't be read: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # editors of Windows put a mark at its beginning
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not text in UTF-8 (at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}") from error


def from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """The variables with our prefix as a tree, unknown ones too: those are then refused by name."""
    tree: dict[str, Any] = {}
    # The shorter names first: a field's own variable goes before its section's, which is JSON.
    for name, value in sorted(variables.items(), key=lambda item: item[0].count("__")):
        rest = name.upper().removeprefix(ENV_PREFIX)
        if rest == name.upper() or name.upper() == CONFIG_VARIABLE or _of_a_container(rest, value):
            continue
        *above, last = rest.lower().split("__")
        branch: object = tree
        for level in above:
            branch = _branch(branch, level)
        if isinstance(branch, dict):
            # A section, or a key of one that holds more (llm.extra_body): JSON, where it is JSON.
            branch[last] = value if len(above) == 1 else as_json(value)
    return tree


def _branch(tree: object, level: str) -> object:
    """The part of `tree` at `level`, for values to be put in; anything else that stands there is refused by name."""
    if not isinstance(tree, dict):
        return tree
    there = tree.get(level)
    if isinstance(there, str):
        there = as_json(there) if there.strip() else None
    tree[level] = {} if there is None else there
    return tree[level]


def as_json(text: str) -> object:
    """The value that `text` is in JSON, or the text itself."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def _of_a_container(name: str, value: str) -> bool:
    return any(
        re.fullmatch(named, name) and re.fullmatch(with_value, value) for named, with_value in OF_A_CONTAINER
    )
