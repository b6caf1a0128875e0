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

REPOSITORY = "https://github.com/keras-noisy/keras-noisy"
RAW = "https://raw.githubusercontent.com/keras-noisy/keras-noisy"


def with_absolute_links(markdown):
    """Return the README as the package index can show it: it has none of our files.

    Links point to the files of this version, those of pictures to the pictures.
    """
    relative = r"\]\((?![a-z]+:|#)"
    markdown = re.sub(rf"(!\[[^]]*){relative}", rf"\1]({RAW}/v{VERSION}/", markdown)
    return re.sub(relative, f"]({REPOSITORY}/blob/v{VERSION}/", markdown)


# TensorFlow is an extra, as in Keras itself: losses and callbacks run where
# only JAX or PyTorch is installed.
TENSORFLOW = ["tensorflow>=2.20"]
DATASETS = [*TENSORFLOW, "tensorflow-datasets>=4.9"]
PICTURES = ["matplotlib>=3.7", "scikit-learn>=1.3"]
EXAMPLES = [*TENSORFLOW, *PICTURES]
CLEANLAB = ["cleanlab>=2.6"]
# What some guides are about. crowd-kit 1.4 uses what pandas 4 removes; keras-hub needs
# Python 3.11.
CROWD = ["crowd-kit>=1.4.1", "pandas<4"]
KERAS_HUB = ["keras-hub>=0.32; python_version >= '3.11'"]
HUGGINGFACE = ["datasets>=4"]
# With Chromium and its chromedriver: clicks on the report.
BROWSER = ["pillow>=9.2", "selenium>=4.20"]
NEIGHBORS = ["usearch>=2.16"]
# The recipes of benchmarks/ are TOML, which Python reads from 3.11 on.
TOMLI = ["tomli>=2; python_version < '3.11'"]
# Exactly these: the site is built with warnings as errors, and new ones appear. Ruff
# lays out the signatures; ziamath brings a font for formulas. They need Python 3.11;
# without them the tests of the site are skipped.
DOCS = [
    f"{requirement}; python_version >= '3.11'"
    for requirement in (
        "latex2mathml==3.81.1",
        "mkdocstrings==1.0.8",
        "mkdocstrings-python==2.0.11",
        "ruff>=0.6",
        "zensical==0.0.73",
        "ziamath==0.13",
    )
]
NOTEBOOKS = ["nbclient>=0.10", "ipykernel>=6.29"]
TEST = [
    *DATASETS,
    *EXAMPLES,
    *CLEANLAB,
    *NEIGHBORS,
    *TOMLI,
    *DOCS,
    *NOTEBOOKS,
    "mypy>=1.10",
    "pytest>=8",
]

setup(
    name="keras-noisy",
    version=VERSION,
    description="Train Keras classifiers on noisy labels.",
    long_description=with_absolute_links(
        (ROOT / "README.md").read_text(encoding="utf-8")
    ),
    long_description_content_type="text/markdown",
    url=REPOSITORY,
    project_urls={
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    },
    author="The keras-noisy developers",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["keras_noisy", "keras_noisy.*"]),
    package_data={"keras_noisy": ["py.typed", "analysis/templates/*"]},
    python_requires=">=3.10",
    entry_points={"console_scripts": ["keras-noisy = keras_noisy.__main__:main"]},
    install_requires=[
        "filelock>=3.24.3",
        "jinja2>=3.1",
        "keras>=3.12",
        "numpy>=1.26",
        "typing-extensions>=4.6; python_version < '3.11'",
    ],
    extras_require={
        "tensorflow": TENSORFLOW,
        "jax": ["jax>=0.5"],
        "torch": ["torch"],
        "cleanlab": CLEANLAB,
        "crowd": CROWD,
        "keras-hub": KERAS_HUB,
        "huggingface": HUGGINGFACE,
        "neighbors": NEIGHBORS,
        "datasets": DATASETS,
        "examples": EXAMPLES,
        "test": TEST,
        # For JAX and PyTorch: what runs there, without TensorFlow.
        "test-backend": [*PICTURES, *TOMLI, "pytest>=8"],
        "browser": BROWSER,
        "docs": DOCS,
        # With `docs`: the site with what the notebooks show.
        "notebooks": [*NOTEBOOKS, *EXAMPLES, *CLEANLAB, *DATASETS],
        "dev": [
            *TEST,
            "ruff>=0.6",
            "nox>=2024.3",
            "pre-commit>=3",
        ],
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
        "Typing :: Typed",
    ],
    keywords=["keras", "noisy labels", "label noise", "robust learning"],
)
