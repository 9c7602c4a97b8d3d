"""What is declared of a benchmark: files, arrays, classes, split, licence and downloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bdgf.scene.description import Role

Form = Literal["raster", "pixels", "roi"]
"""Labels as a raster of codes, as a list of (row, column) or as the text of ENVI regions."""

Doubt = Literal["files", "size", "bands", "counts", "classes"]
"""A fact of a container that was found in one place only, or in none."""


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    Args:
        file: Name of the file.
        key: Name of the array inside the file, None where the file is one raster.
        shape: (rows, columns), (rows, columns, bands) or, of a list of pixels, (pixels, 2) with 0
            for a number that is not known.
        dtype: Type of the values as NumPy names it, None where it is not known.
        form: How labels are stored.
        other_files: Other names under which the same file goes round.
        other_keys: Other names under which the same array goes round.
    """

    file: str
    key: str | None
    shape: tuple[int, ...]
    dtype: str | None = None
    form: Form = "raster"
    other_files: tuple[str, ...] = ()
    other_keys: tuple[str, ...] = ()

    @property
    def bands(self) -> int:
        """C, number of bands."""
        return self.shape[2] if len(self.shape) == 3 else 1


@dataclass(frozen=True)
class Modality:
    """One modality of a container.

    Args:
        name: Its name in the scene file.
        role: spectral or auxiliary.
        stored: Its array.
        bands: First and last band that are used, counted from 1; None uses all.
    """

    name: str
    role: Role
    stored: Stored
    bands: tuple[int, int] | None = None


@dataclass(frozen=True)
class Container:
    """One way in which a benchmark's arrays are laid out in files.

    Args:
        name: Name of the container, unique within the benchmark.
        origin: Who hands it out.
        modalities: Its modalities.
        train: Training labels, None where all labels are in one array.
        test: Test labels.
        all: All labels, which a split divides.
        codes: Map of class codes that lists of pixels pick from.
        split: given, or a split as a scene file writes it.
        official: Whether the split is the one that the data set's publisher made.
        counts_train: Training pixels of every class, None where they are not known.
        counts_test: Test pixels of every class, None where they are not known.
        ignore: Codes besides 0 that mean unlabelled.
        align: Modality whose grid is the scene's, where grids differ.
        regions: Names of the regions of every class, in the order of the codes, where labels are
            the text of ENVI regions.
        extra: Arrays that the files hold as well, and that are not used.
        doubts: Kinds of facts that could not be confirmed in two places.
        notes: What a user should know, in words.
    """

    name: str
    origin: str
    modalities: tuple[Modality, ...]
    train: Stored | None = None
    test: Stored | None = None
    all: Stored | None = None
    codes: Stored | None = None
    split: Literal["given"] | Mapping[str, Mapping[str, int]] = "given"
    official: bool = True
    counts_train: Mapping[int, int] | None = None
    counts_test: Mapping[int, int] | None = None
    ignore: tuple[int, ...] = ()
    align: str | None = None
    regions: tuple[str, ...] = ()
    extra: tuple[Stored, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether every fact was confirmed in two places."""
        return not self.doubts

    def used(self) -> dict[str, Stored]:
        """Return every array that is used, by what it is in words."""
        labels = {
            "training labels": self.train,
            "test labels": self.test,
            "labels": self.all,
            "map of class codes": self.codes,
        }
        images = {modality.name: modality.stored for modality in self.modalities}
        return images | {what: stored for what, stored in labels.items() if stored is not None}

    def part_of(self, stored: Stored) -> str:
        """Return what an array of this container is, in words."""
        return next(what for what, one in self.used().items() if one == stored)

    def files(self) -> dict[str, tuple[str, ...]]:
        """Return every file that is needed, and the names that it may have instead."""
        return {stored.file: stored.other_files for stored in self.used().values()}


@dataclass(frozen=True)
class Download:
    """A file that can be fetched.

    Args:
        url: Its address.
        file: Name under which it is kept.
        sha256: Its SHA-256, None where it is not known.
        archive: Whether it has to be unpacked.
        container: Name of the container that it belongs to.
        unpacked: Files of the archive by their path inside it, with SHA-256 where that is known.
        allowed: Whether it is offered to everyone for download. Where it is not, the publisher
            asks for a message or an account first: a person has to get it from the page.
        page: Page that offers it.
        hosts: Hosts that send it, those of redirects included.
    """

    url: str
    file: str
    sha256: str | None
    archive: bool
    container: str
    page: str
    unpacked: Mapping[str, str | None] = field(default_factory=dict)
    allowed: bool = True
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A public scene that methods are compared on.

    Args:
        name: Name on the command line.
        title: Name in sentences.
        aliases: Other names; several benchmarks may share one.
        classes: Name and colour (#rrggbb) of every class by its code.
        containers: The containers that go round, the most usual first.
        licence: Terms of use.
        citation: What to cite.
        page: Where a person gets it.
        downloads: Files that can be fetched.
        notes: What a user should know, in words.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    classes: Mapping[int, tuple[str, str]]
    containers: tuple[Container, ...]
    licence: str
    citation: str
    page: str
    downloads: tuple[Download, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """Where a declared array really is.

    Args:
        key: Name of the array inside its file.
        axes: What each axis is, None where they are as declared.
    """

    key: str | None
    axes: str | None = None


@dataclass(frozen=True)
class Found:
    """The files of a benchmark that are there.

    Args:
        benchmark: The benchmark.
        container: The container.
        files: Path of every declared file.
        arrays: What checking the files has found of every array; empty before that.
        names: Names of the classes by which the files know them, where they differ from the
            declared ones.
        notes: What differs from the declaration and was accepted, in words for the user.
    """

    benchmark: Benchmark
    container: Container
    files: Mapping[str, Path]
    arrays: Mapping[Stored, Opened] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def opened(self, stored: Stored) -> Opened:
        """Return where an array is; as declared before the files are checked."""
        return self.arrays.get(stored, Opened(stored.key))


def counted(*counts: int) -> dict[int, int]:
    """Number the classes from 1 on, in the order of their pixel counts."""
    return dict(enumerate(counts, start=1))


def drawn(counts: Mapping[int, int], per_class: int) -> tuple[dict[int, int], dict[int, int]]:
    """Return the training and test pixels of every class that a random split draws.

    A class with fewer than twice as many pixels gives half of them, as the split does.
    """
    train = {code: min(per_class, max(1, number // 2)) for code, number in counts.items()}
    return train, {code: number - train[code] for code, number in counts.items()}


def random_split(per_class: int) -> dict[str, dict[str, int]]:
    """Return a random split as a scene file writes it."""
    return {"random": {"per_class": per_class, "seed": 0}}
