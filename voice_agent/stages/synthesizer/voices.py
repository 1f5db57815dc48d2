"""Choosing a voice by name."""

from collections.abc import Iterable

from voice_agent.errors import SettingsError


def default_first(voices: Iterable[str], default: str) -> tuple[str, ...]:
    """The names in order, but `default` in front.

    Raises:
        SettingsError: the setting `tts.voice` asks for a voice that is not among them.
    """
    names = sorted(voices)
    check_voice("tts.voice", default, names)
    return (default, *(name for name in names if name != default))


def check_voice(where: str, name: str, voices: Iterable[str]) -> None:
    """Raise SettingsError unless `name`, given as `where`, is one of `voices`."""
    if name not in voices:
        raise SettingsError(f"{where}: there is no voice {name!r}; the voices are {', '.join(voices)}.")
