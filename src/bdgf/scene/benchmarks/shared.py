"""Layouts and places that several benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping

from bdgf.scene.benchmarks.declaration import Container, Doubt, Modality, Stored

GITHUB = ("github.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com")
"""Hosts that send a file of a GitHub release."""

GITHUB_ARCHIVE = ("github.com", "codeload.github.com")
"""Hosts that send a GitHub repository as an archive."""

MIRROR = "https://github.com/songyz2019/rs-fusion-datasets-dist/releases/download/v1.0.0/"
"""Unchanged copies of data sets that their authors hand out on network disks."""

MIRROR_PAGE = "https://github.com/songyz2019/rs-fusion-datasets-dist/releases/tag/v1.0.0"
"""Page of these copies."""

S2FL_PAGE = "https://github.com/danfenghong/ISPRS_S2FL"
"""Page of the authors of the Berlin and Augsburg data sets."""

S2FL = (
    "D. Hong, J. Hu, J. Yao, J. Chanussot, X. X. Zhu: Multimodal remote sensing benchmark datasets"
    " for land cover classification with a shared and specific feature learning model, ISPRS"
    " Journal of Photogrammetry and Remote Sensing 178, 68-80, 2021"
)
"""The paper of the Berlin and Augsburg data sets."""

OUC = "Ocean University of China (MSFMamba, DFFNet, DCMNet)"
"""Who hands out scenes with lists of pixels."""


def index_container(
    prefix: str,
    second: str,
    shape: tuple[int, int],
    bands: tuple[int, int],
    dtypes: tuple[str | None, str | None],
    counts: tuple[Mapping[int, int], Mapping[int, int]],
    doubts: tuple[Doubt, ...] = (),
    notes: tuple[str, ...] = (),
    official: bool = True,
) -> Container:
    """Return a scene of four files: two images, a map of codes, and lists of pixels.

    Args:
        prefix: What the names of all files and arrays begin with.
        second: Name of the modality beside the hyperspectral one.
        shape: Rows and columns.
        bands: Bands of the two images; one band is stored without an axis of its own.
        dtypes: Types of the two images.
        counts: Training and test pixels of every class.
        doubts: Facts that could not be confirmed.
        notes: What a user should know.
        official: Whether the lists are the publisher's split.
    """

    def image(name: str, number: int, dtype: str | None) -> Stored:
        array = shape if number == 1 else (*shape, number)
        return Stored(f"{prefix}_{name}.mat", f"{prefix}_{name}", array, dtype)

    def pixels(part: str, number: int) -> Stored:
        return Stored(f"{prefix}_index.mat", f"{prefix}_{part}", (number, 2), form="pixels")

    train, test = counts
    return Container(
        name="index",
        origin=OUC,
        modalities=(
            Modality("hsi", "spectral", image("hsi", bands[0], dtypes[0])),
            Modality(second, "auxiliary", image(second, bands[1], dtypes[1])),
        ),
        train=pixels("train", sum(train.values())),
        test=pixels("test", sum(test.values())),
        codes=Stored(f"{prefix}_gt.mat", f"{prefix}_gt", shape, "uint8"),
        counts_train=train,
        counts_test=test,
        official=official,
        extra=(pixels("all", shape[0] * shape[1]),),
        doubts=doubts,
        notes=("The lists hold rows and columns counted from 0.", *notes),
    )


def masked_container(
    shape: tuple[int, int],
    bands: tuple[int, int],
    counts: tuple[Mapping[int, int], Mapping[int, int]] | None,
    doubts: tuple[Doubt, ...],
    notes: tuple[str, ...] = (),
) -> Container:
    """Return a hyperspectral and a SAR image with two masks, all with the same few names.

    Args:
        shape: Rows and columns.
        bands: Bands of the hyperspectral and of the SAR image.
        counts: Training and test pixels of every class, None where they are not known.
        doubts: Facts that could not be confirmed.
        notes: What a user should know.
    """
    return Container(
        name="masks",
        origin="Beijing Institute of Technology (AsyFFNet)",
        modalities=(
            Modality("hsi", "spectral", Stored("data_hsi.mat", "data", (*shape, bands[0]))),
            Modality("sar", "auxiliary", Stored("data_sar.mat", "data", (*shape, bands[1]))),
        ),
        train=Stored("mask_train.mat", "mask_train", shape),
        test=Stored("mask_test.mat", "mask_test", shape),
        counts_train=None if counts is None else counts[0],
        counts_test=None if counts is None else counts[1],
        doubts=doubts,
        notes=notes,
    )
