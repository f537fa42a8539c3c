"""Installed by pip, the repository is the package `scenescope`: the core and the adapter for diffusers, for Python.

ComfyUI takes the folder as it is and reads none of this; everything else is in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
RINGS = ("scenescope", "diffusers_adapter", "demo")


def packages() -> list[str]:
    """Name the root and every folder of the rings: `scenescope`, `scenescope.scenescope.attention`, ..."""
    folders = sorted({file.parent.relative_to(ROOT) for ring in RINGS for file in (ROOT / ring).rglob("*.py")})
    return ["scenescope", *(".".join(("scenescope", *folder.parts)) for folder in folders)]


setup(
    packages=packages(),
    package_dir={"scenescope": "."},
    package_data={"scenescope.demo": ["*.safetensors", "*.json"]},
)
