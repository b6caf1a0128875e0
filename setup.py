"""Packaging of keras-noisy: metadata, version and extras."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "keras_noisy" / "version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# TensorFlow is an extra, as in Keras itself: losses and callbacks run where
# only JAX or PyTorch is installed.
TENSORFLOW = ["tensorflow>=2.20"]
DATASETS = [*TENSORFLOW, "tensorflow-datasets>=4.9"]
EXAMPLES = [*TENSORFLOW, "matplotlib>=3.7", "scikit-learn>=1.3"]
CLEANLAB = ["cleanlab>=2.6"]
TEST = [*DATASETS, *EXAMPLES, *CLEANLAB, "pytest>=8"]

setup(
    name="keras-noisy",
    version=VERSION,
    description="Train Keras classifiers on noisy labels.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["keras_noisy", "keras_noisy.*"]),
    package_data={"keras_noisy": ["py.typed"]},
    python_requires=">=3.10",
    install_requires=["keras>=3.12", "numpy>=1.26"],
    extras_require={
        "tensorflow": TENSORFLOW,
        "jax": ["jax"],
        "torch": ["torch"],
        "cleanlab": CLEANLAB,
        "datasets": DATASETS,
        "examples": EXAMPLES,
        "test": TEST,
        "dev": [*TEST, "ruff>=0.6", "pre-commit>=3"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    keywords=["keras", "noisy labels", "label noise", "robust learning"],
)
