"""The language that a client names."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

TAG: str = r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"
"""A language tag (RFC 5646), or a locale's name, which has an underscore for the hyphen."""


def primary(tag: str) -> str:
    """The language of a tag, without country and script: `en` of `en-US`, `EN` and `en_GB`."""
    return tag.replace("_", "-").partition("-")[0].lower()


Language: TypeAlias = Annotated[str, Field(pattern=TAG, max_length=40), AfterValidator(primary)]
"""Takes a tag, and holds its language."""
