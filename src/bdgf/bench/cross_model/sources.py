"""Features and denoisers from elsewhere as methods, by their names in tables.

- ``BDGF, features of diffusers UNet``: of another library's U-Net, trained on the same scene;
- ``BDGF, features of NAME``: a ready-made array or raster, named by ``--embeddings NAME=PATH``;
- ``BDGF, denoiser of NAME``: our denoiser of another scene, named by ``--denoisers NAME=PATH`` and
  pre-trained on; with ``as is`` behind it, not pre-trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bdgf.bench.cross_model.unet import check_installed
from bdgf.bench.variants import variant
from bdgf.diffusion.external import external_signature
from bdgf.diffusion.transfer import WEIGHTS, weights_file
from bdgf.errors import SettingsError
from bdgf.files import absolute
from bdgf.scene.scene import Scene

UNET = variant("features of diffusers UNet")
_FEATURES = variant("features of ")
_DENOISER = variant("denoiser of ")
_AS_IS = " as is"
_SEED = "{seed}"


@dataclass(frozen=True)
class Elsewhere:
    """What a comparison takes from elsewhere.

    Args:
        denoisers: By name a scene file, whose denoiser is pre-trained with the seed and settings of
            the comparison, or a run folder or ``diffusion.safetensors``, ``{seed}`` standing for
            the seed.
        embeddings: By name what ``features.source`` takes; relative paths start from the folder of
            each scene file.
    """

    denoisers: Mapping[str, str] = field(default_factory=dict)
    embeddings: Mapping[str, str] = field(default_factory=dict)

    def methods(self) -> tuple[str, ...]:
        """Return the names of the methods that these make possible."""
        ends = ("", _AS_IS)
        return (
            *(f"{_FEATURES}{name}" for name in self.embeddings),
            *(f"{_DENOISER}{name}{end}" for name in self.denoisers for end in ends),
        )

    def check(self, method: str) -> None:
        """Refuse a method that something is missing for.

        Raises:
            SettingsError: diffusers is not installed, or no path was given.
        """
        if method == UNET:
            check_installed()
        elif is_elsewhere(method) and method not in self.methods():
            option = "--denoisers" if method.startswith(_DENOISER) else "--embeddings"
            raise SettingsError(
                f"{method!r} needs a path, and none was given: add {option} NAME=PATH, with the"
                " name that the method has."
            )

    def denoiser(self, method: str, seed: int) -> tuple[Path, bool] | None:
        """Return the path that a method's denoiser comes from, and whether it stays as it is.

        None for a method that takes none.
        """
        if not method.startswith(_DENOISER):
            return None
        name = method.removeprefix(_DENOISER)
        as_is = name.endswith(_AS_IS) and name not in self.denoisers
        path = self.denoisers[name.removesuffix(_AS_IS) if as_is else name]
        return Path(path.replace(_SEED, str(seed))), as_is

    def embedding(self, method: str) -> str | None:
        """Return the path of a method's ready-made features, None for a method without."""
        return self.embeddings.get(method.removeprefix(_FEATURES)) if method != UNET else None

    def left_out(self, method: str, scene: Scene, seed: int) -> bool:
        """Whether a method is none on a scene: its other scene is the same one."""
        found = self.denoiser(method, seed)
        return found is not None and same_scene(found[0], scene)

    def signature(self, method: str, scene: Scene, seed: int) -> str:
        """Return what changes when the files do that a method takes from elsewhere.

        Raises:
            BdgfError: They are missing or cannot be used on the scene.
        """
        found = self.denoiser(method, seed)
        if found is not None:
            path, _ = found
            if is_weights(path):
                return hashlib.sha256(weights_file(path).read_bytes()).hexdigest()
            return Scene.open(path).signature("images")
        source = self.embedding(method)
        if source is None:
            return ""
        return external_signature(source, absolute(scene.spec.path).parent, scene)


def is_elsewhere(method: str) -> bool:
    """Whether a name is that of a method which takes something from elsewhere."""
    return method.startswith((_FEATURES, _DENOISER))


def is_weights(path: Path) -> bool:
    """Whether a path is that of a run or its weights, and not of a scene."""
    return path.suffix == ".safetensors" or (path / WEIGHTS).is_file()


def same_scene(path: Path, scene: Scene) -> bool:
    """Whether a path is that of a scene's own file or its folder."""
    own = scene.spec.path.resolve()
    return path.resolve() in (own, own.parent) and not is_weights(path)


def named_paths(text: str, option: str) -> dict[str, str]:
    """Return names and paths from ``NAME=PATH,NAME=PATH``.

    Raises:
        SettingsError: A part that is none, or a name that is given twice or taken.
    """
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, path = (piece.strip() for piece in part.partition("="))
        if not (name and equals and path):
            raise SettingsError(
                f"{option} has {part!r}; it lists names and paths, such as NAME=PATH,NAME=PATH."
            )
        if name in found or variant(f"features of {name}") == UNET:
            raise SettingsError(f"{option} has the name {name!r}, which is taken; choose another.")
        found[name] = path
    return found
