"""The commands that a contributor needs; `nox --list` shows them.

`nox` alone runs what a change must pass on TensorFlow. What follows `--` goes to the
tool: `nox -s test_jax -- -k equal_loss`.
"""

import pathlib
import shutil
import tarfile

import nox

nox.needs_version = ">=2024.3"
nox.options.sessions = ["lint", "types", "test_tensorflow"]
nox.options.reuse_existing_virtualenvs = True

# Plain `torch` brings gigabytes of CUDA.
TORCH_WITHOUT_CUDA = "--extra-index-url=https://download.pytorch.org/whl/cpu"
LOWEST = "--constraint=tests/lowest.txt"


def run_tests(session, backend, **kwargs):
    """Run the tests on a backend of Keras, or those that follow `--`."""
    session.run("pytest", *session.posargs, env={"KERAS_BACKEND": backend}, **kwargs)


@nox.session
def test_tensorflow(session):
    """Run the tests on TensorFlow."""
    session.install("-e", ".[test]")
    run_tests(session, "tensorflow")


@nox.session
def test_jax(session):
    """Run the tests on JAX."""
    session.install("-e", ".[jax,test-backend]")
    run_tests(session, "jax")


@nox.session
def test_torch(session):
    """Run the tests on PyTorch, without CUDA."""
    session.install("-e", ".[torch,test-backend]", TORCH_WITHOUT_CUDA)
    run_tests(session, "torch")


@nox.session
def test_guides(session):
    """Run guides and a notebook whose packages are too large for every change."""
    session.install("-e", ".[test,crowd,keras-hub,huggingface]")
    guides = "several_annotators or keras_hub or hugging_face or find_wrong_labels"
    tests = ["tests/test_documentation.py", "tests/examples", "-k", guides]
    session.run("pytest", *tests, *session.posargs, env={"KERAS_BACKEND": "tensorflow"})


@nox.session
def test_browser(session):
    """Click on the report in Chromium, which must be installed with its driver."""
    session.install("-e", ".[jax,test-backend,browser]")
    tests = "tests/analysis/test_report_in_chromium.py"
    session.run("pytest", tests, *session.posargs, env={"KERAS_BACKEND": "jax"})


@nox.session(python="3.10")
@nox.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_lowest(session, backend):
    """Run the tests with the oldest versions that are supported."""
    session.install("-e", f".[{backend},test-backend]", LOWEST, TORCH_WITHOUT_CUDA)
    run_tests(session, backend)


@nox.session
def lint(session):
    """Check style and format."""
    # Ruff as in `.ci/run`: its format changes from version to version.
    session.install("ruff==0.17.5", "pre-commit>=3")
    session.run("pre-commit", "run", "--all-files", *session.posargs)


@nox.session
def types(session):
    """Check the types of the package and of a program that uses it."""
    session.install("-e", ".[dev]")
    session.run("mypy", *session.posargs)


@nox.session
def docs(session):
    """Build the documentation with the notebooks' outputs; a warning is an error."""
    session.install("-e", ".[docs,notebooks]")
    session.run("python", "docs/site/build.py", *(session.posargs or ["--execute"]))


@nox.session
def build(session):
    """Build wheel and sdist in `build/dist`, and test the installed wheel.

    The tests are those of the sdist, without the package beside them. All of them run,
    or what follows `--`.
    """
    out = pathlib.Path("build/dist")
    shutil.rmtree(out, ignore_errors=True)
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(out))
    session.run("twine", "check", "--strict", *map(str, out.iterdir()))
    (wheel,) = out.glob("*.whl")
    session.install(f"{wheel}[test]")
    session.chdir(unpacked(next(out.glob("*.tar.gz")), session.create_tmp()))
    run_tests(session, "tensorflow")


def unpacked(sdist, folder):
    """Unpack an sdist, take the package out of it, and return its folder."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    root = pathlib.Path(folder) / sdist.name.removesuffix(".tar.gz")
    shutil.rmtree(root / "keras_noisy")
    return root


@nox.session
def benchmark(session):
    """See that the benchmarks still run: few rounds of the cost of the losses."""
    session.install("-e", ".[examples]")
    few = ["--rounds", "2", "--step-rounds", "1"]
    session.run("python", "benchmarks/loss_overhead.py", *(session.posargs or few))
