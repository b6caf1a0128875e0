"""Small label files, written as their authors write them."""

import pickle
import zipfile

import numpy as np

CLEAN = np.array([3, 0, 1, 2, 2, 0])
NOISY = np.array([3, 1, 1, 0, 2, 0])


def write_csv(path, columns):
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(
        *columns.values(), strict=True
    ))]  # fmt: skip
    path.write_text("\n".join(rows) + "\n")
    return path


def write_torch(path, content, folder="archive", storages=()):
    """Write what `torch.save` writes: a zip file with a pickle of protocol 2."""
    with zipfile.ZipFile(path, "w") as archive:
        if not isinstance(content, bytes):
            content = pickle.dumps(content, protocol=2)
        archive.writestr(f"{folder}/data.pkl", content)
        archive.writestr(f"{folder}/byteorder", "little")
        for name, array in storages:
            archive.writestr(f"{folder}/data/{name}", array.tobytes())
        archive.writestr(f"{folder}/version", "3\n")
    return path


def write_old_torch(path, content):
    """Write what `torch.save` wrote before torch 1.6: four pickles and more."""
    with open(path, "wb") as file:
        for part in (
            0x1950A86A20F9469CFC6C,
            1001,
            {"little_endian": True},
            content,
            [],
        ):
            pickle.dump(part, file, protocol=2)
    return path


def write_npy(path, content):
    np.save(path, content, allow_pickle=True)
    return path
