"""The catalogue's rules, and the project's own catalogue."""

import pytest

from tests.models.conftest import HUGGING_FACE, PIP, entry
from voice_agent.models.catalog import Archives, catalog, parse


def test_every_default_has_an_entry_that_a_package_index_can_give() -> None:
    for name in ("whisper-tiny.en", "smollm2-135m-instruct", "piper-en_US-joe-medium"):
        archives = [source for source in catalog()[name].sources if isinstance(source, Archives)]
        assert all(any(source.has(file.path) for source in archives) for file in catalog()[name].files)


def test_pieces_of_a_file_follow_one_another_without_gap() -> None:
    for weights in catalog().values():
        for source in weights.sources:
            ends: dict[str, int] = {}
            for piece in source.pieces(weights) if isinstance(source, Archives) else ():
                assert piece.start == ends.get(piece.file, 0)
                ends[piece.file] = piece.start + piece.size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (entry(HUGGING_FACE, files={"../evil": b"x"}), "plain relative path"),
        (entry(HUGGING_FACE, files={"/etc/evil": b"x"}), "plain relative path"),
        (entry(HUGGING_FACE, files={"a\\b": b"x"}), "plain relative path"),
        (entry(HUGGING_FACE, files={".hidden": b"x"}), "plain relative path"),
        (entry(HUGGING_FACE, name="../up"), "name"),
        (entry(PIP, files={"other.bin": b"x"}), "no source has other.bin"),
        (entry(HUGGING_FACE, PIP, files={"other.bin": b"x"}), "not listed"),
        (entry(PIP.replace(" }]", ", size = 5 }]")), "do not add up"),
        (entry(HUGGING_FACE) + entry(HUGGING_FACE), "named twice"),
        (entry(HUGGING_FACE).replace("sha256 = '", "sha256 = 'zz"), "sha256"),
        (entry("kind = 'ftp'"), "kind"),
    ],
)
def test_a_catalogue_that_breaks_a_rule_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(text)
