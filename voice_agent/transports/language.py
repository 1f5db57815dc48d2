"""The language that a client names."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from voice_agent.language import base_language

TAG: str = r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$"
"""A language tag (RFC 5646), or a locale's name, which has an underscore for the hyphen."""


Language: TypeAlias = Annotated[str, Field(pattern=TAG, max_length=40), AfterValidator(base_language)]
"""Takes a tag, and holds its language."""
