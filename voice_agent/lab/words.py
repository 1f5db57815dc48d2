"""Word errors, after Whisper's own normalization of English."""

from functools import cache
from typing import Any

from voice_agent.errors import LabError


def count_errors(said: str, heard: str) -> tuple[int, int]:
    """Substitutions, deletions and insertions together, and the words that were said.

    Raises:
        LabError: the libraries that count them are not installed.
    """
    jiwer, normalize = _libraries()
    said = normalize(said)
    if not said:
        return len(normalize(heard).split()), 0
    aligned = jiwer.process_words(said, normalize(heard))
    return aligned.substitutions + aligned.deletions + aligned.insertions, len(said.split())


@cache
def _libraries() -> tuple[Any, Any]:
    try:
        import jiwer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise LabError(f"{error.name} is not installed: pip install 'voice-agent[lab]'") from error
    return jiwer, EnglishTextNormalizer()
