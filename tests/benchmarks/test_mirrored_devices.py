"""The command that compares devices of TensorFlow, on two halves of the CPU."""

import pytest

from benchmarks import mirrored_devices


@pytest.mark.tensorflow_only
def test_two_devices_give_what_one_gives(strategy):
    differences = mirrored_devices.compare(strategy)
    assert len(differences) == 4
    assert max(differences.values()) < mirrored_devices.TOLERANCE


@pytest.mark.tensorflow_only
def test_without_a_gpu_it_says_so(capsys):
    if mirrored_devices.find_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as raised:
        mirrored_devices.main([])
    assert raised.value.code == 2
    assert "no GPU" in capsys.readouterr().out
