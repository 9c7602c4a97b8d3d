"""Land-cover materials of the synthetic scene: spectra, radar backscatter, heights.

The spectra are smooth curves between 400 and 2500 nm, made of a floor, a slope, edges and Gaussian
features (pigments, water, iron, clay, hydrocarbons) at the places where real materials have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Material:
    """One class of the synthetic scene.

    Args:
        name: Name of the class.
        color: Its colour in the map, ``#rrggbb``.
        weight: How common it is; classes below 2 are rare and get fewer training pixels.
        floor: Reflectance at 400 nm.
        slope: Change of reflectance from 400 to 2500 nm.
        edges: Smooth steps, as (position in nm, width in nm, height).
        features: Gaussians, as (position in nm, width in nm, amplitude; negative absorbs).
        backscatter: Radar backscatter in dB of the co- and the cross-polarised band.
        height: Height above the terrain in metres.
        roughness: Standard deviation of that height inside a parcel, in metres.
    """

    name: str
    color: str
    weight: float
    floor: float
    slope: float
    edges: tuple[tuple[float, float, float], ...]
    features: tuple[tuple[float, float, float], ...]
    backscatter: tuple[float, float]
    height: float
    roughness: float


def _vegetation(
    name: str,
    color: str,
    weight: float,
    *,
    plateau: float,
    red_edge: float,
    green: float,
    water: float,
    backscatter: tuple[float, float],
    height: float,
    roughness: float,
) -> Material:
    return Material(
        name,
        color,
        weight,
        floor=0.035,
        slope=-0.06,
        edges=((red_edge, 18.0, plateau), (1330.0, 60.0, -0.35 * plateau)),
        features=(
            (555.0, 35.0, green),
            (680.0, 25.0, -0.015),
            (970.0, 35.0, -0.10 * water),
            (1190.0, 45.0, -0.16 * water),
            (1450.0, 70.0, -0.35 * water),
            (1940.0, 90.0, -0.40 * water),
            (2200.0, 150.0, 0.05),
        ),
        backscatter=backscatter,
        height=height,
        roughness=roughness,
    )


_SOIL_EDGES = ((560.0, 70.0, 0.10),)
_SOIL_FEATURES = (
    (900.0, 120.0, -0.03),
    (1410.0, 40.0, -0.04),
    (1915.0, 60.0, -0.08),
    (2205.0, 30.0, -0.035),
)
_BITUMEN_FEATURES = ((1730.0, 40.0, -0.012), (2310.0, 50.0, -0.022))

MATERIALS: tuple[Material, ...] = (
    _vegetation(
        "Meadow",
        "#8fce5a",
        5.0,
        plateau=0.36,
        red_edge=715.0,
        green=0.055,
        water=0.30,
        backscatter=(-12.5, -19.5),
        height=0.2,
        roughness=0.1,
    ),
    Material(
        "Rolled soil",
        "#d9b382",
        3.0,
        floor=0.09,
        slope=0.12,
        edges=_SOIL_EDGES,
        features=_SOIL_FEATURES,
        backscatter=(-16.0, -25.5),
        height=0.0,
        roughness=0.05,
    ),
    # The same soil: ploughing changes its roughness, which radar sees, and not its colour.
    Material(
        "Ploughed soil",
        "#8c5a2b",
        3.0,
        floor=0.09,
        slope=0.12,
        edges=_SOIL_EDGES,
        features=_SOIL_FEATURES,
        backscatter=(-9.5, -17.5),
        height=0.0,
        roughness=0.1,
    ),
    Material(
        "Pavement",
        "#7f7f86",
        2.5,
        floor=0.07,
        slope=0.07,
        edges=(),
        features=_BITUMEN_FEATURES,
        backscatter=(-11.0, -20.0),
        height=0.0,
        roughness=0.05,
    ),
    # The same bitumen, a storey or two higher.
    Material(
        "Flat roof",
        "#d7485a",
        2.0,
        floor=0.07,
        slope=0.07,
        edges=(),
        features=_BITUMEN_FEATURES,
        backscatter=(-11.0, -20.0),
        height=6.5,
        roughness=0.6,
    ),
    _vegetation(
        "Forest",
        "#1f6b2c",
        5.0,
        plateau=0.29,
        red_edge=720.0,
        green=0.035,
        water=0.34,
        backscatter=(-9.0, -14.5),
        height=14.0,
        roughness=2.5,
    ),
    Material(
        "Water",
        "#3b7dd8",
        1.5,
        floor=0.055,
        slope=-0.05,
        edges=((720.0, 60.0, -0.012),),
        features=((560.0, 60.0, 0.02),),
        backscatter=(-19.0, -27.0),
        height=-1.0,
        roughness=0.02,
    ),
    _vegetation(
        "Cereal",
        "#e8d64a",
        4.0,
        plateau=0.31,
        red_edge=712.0,
        green=0.06,
        water=0.22,
        backscatter=(-13.5, -20.5),
        height=0.7,
        roughness=0.1,
    ),
    _vegetation(
        "Maize",
        "#b8b21c",
        3.0,
        plateau=0.37,
        red_edge=717.0,
        green=0.05,
        water=0.36,
        backscatter=(-11.0, -17.5),
        height=1.9,
        roughness=0.2,
    ),
    _vegetation(
        "Orchard",
        "#5aa88f",
        1.2,
        plateau=0.32,
        red_edge=718.0,
        green=0.045,
        water=0.31,
        backscatter=(-10.5, -16.5),
        height=3.5,
        roughness=1.3,
    ),
    Material(
        "Tile roof",
        "#a83a22",
        2.0,
        floor=0.06,
        slope=0.10,
        edges=((590.0, 35.0, 0.16),),
        features=((870.0, 90.0, -0.06), (1930.0, 70.0, -0.03), (2200.0, 40.0, -0.02)),
        backscatter=(-7.0, -17.0),
        height=7.5,
        roughness=1.5,
    ),
    Material(
        "Gravel",
        "#c9c4b8",
        1.2,
        floor=0.15,
        slope=0.09,
        edges=((520.0, 80.0, 0.06),),
        features=((1915.0, 60.0, -0.04), (2340.0, 40.0, -0.04)),
        backscatter=(-11.5, -21.0),
        height=0.1,
        roughness=0.1,
    ),
    Material(
        "Greenhouse",
        "#9fd3e6",
        1.0,
        floor=0.22,
        slope=-0.02,
        edges=((710.0, 30.0, 0.10),),
        features=((1215.0, 30.0, -0.03), (1730.0, 35.0, -0.07), (2310.0, 45.0, -0.08)),
        backscatter=(-8.5, -19.0),
        height=3.0,
        roughness=0.3,
    ),
    _vegetation(
        "Shrubs",
        "#6d8f3a",
        1.5,
        plateau=0.27,
        red_edge=714.0,
        green=0.04,
        water=0.25,
        backscatter=(-11.5, -17.5),
        height=1.6,
        roughness=0.6,
    ),
)
"""The materials in the order in which classes are taken from them."""

SAR_PAIR = ("Rolled soil", "Ploughed soil")
"""Two classes with one spectrum and one height: only radar backscatter tells them apart."""

DSM_PAIR = ("Pavement", "Flat roof")
"""Two classes with one spectrum and one backscatter: only the surface height tells them apart."""


def materials(classes: int, rng: np.random.Generator) -> tuple[Material, ...]:
    """Return K materials: those of the table, then drawn ones.

    Args:
        classes: K.
        rng: Draws the materials beyond the table.
    """
    return MATERIALS[:classes] + tuple(
        _drawn(number, rng) for number in range(len(MATERIALS) + 1, classes + 1)
    )


def _drawn(number: int, rng: np.random.Generator) -> Material:
    rgb = rng.integers(40, 230, 3)
    centres = rng.uniform(450.0, 2400.0, 6)
    co = float(rng.uniform(-18.0, -7.0))
    return Material(
        f"Cover {number}",
        "#" + "".join(f"{value:02x}" for value in rgb),
        float(rng.uniform(0.8, 3.0)),
        floor=float(rng.uniform(0.05, 0.2)),
        slope=float(rng.uniform(-0.04, 0.12)),
        edges=((float(rng.uniform(520.0, 740.0)), 30.0, float(rng.uniform(0.0, 0.25))),),
        features=tuple(
            (float(c), float(rng.uniform(30.0, 150.0)), float(rng.uniform(-0.05, 0.05)))
            for c in centres
        ),
        backscatter=(co, co - float(rng.uniform(6.0, 11.0))),
        height=float(rng.choice([0.0, 0.5, 2.0, 6.0, 12.0])),
        roughness=float(rng.uniform(0.05, 0.8)),
    )


def wavelengths(bands: int) -> NDArray[np.float64]:
    """Return the (B,) band centres in nm, evenly spread; one band alone is near infrared."""
    return np.linspace(420.0, 2450.0, bands) if bands > 1 else np.array([850.0])


def reflectance(material: Material, nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (B,) mean reflectance of a material at these wavelengths."""
    spectrum = material.floor + material.slope * (nm - 400.0) / 2100.0
    for centre, width, height in material.edges:
        spectrum = spectrum + height / (1.0 + np.exp(-(nm - centre) / width))
    for centre, width, amplitude in material.features:
        spectrum = spectrum + amplitude * np.exp(-0.5 * ((nm - centre) / width) ** 2)
    return np.clip(spectrum, 0.008, 0.95)
