"""Small data sets as TFDS prepares them."""

import pytest


@pytest.fixture(scope="session")
def prepare(tmp_path_factory):
    """Return a function that prepares a data set of TFDS.

    It takes the name, `(h, w, c)`, the number of classes, for each split its examples,
    `(image, label, {other feature: value})`, the other features, and the number of
    shards; it returns the builder and the `data_dir`.
    """
    pytest.importorskip("tensorflow")
    tfds = pytest.importorskip("tensorflow_datasets")

    def prepare(
        dataset_name, shape, num_classes, splits, features=None, num_shards=None
    ):
        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            name = dataset_name
            VERSION = tfds.core.Version("1.0.0")
            code_path = None  # TFDS would look for a file of checksums beside it.

            def _info(self):
                names = [f"class {i}" for i in range(num_classes)]
                own = {
                    "image": tfds.features.Image(shape=shape, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=names),
                }
                features_dict = tfds.features.FeaturesDict({**own, **(features or {})})
                return tfds.core.DatasetInfo(builder=self, features=features_dict)

            def _split_generators(self, dl_manager):
                return {
                    split: self._generate_examples(rows)
                    for split, rows in splits.items()
                }

            def _generate_examples(self, rows):
                for number, (image, label, others) in enumerate(rows):
                    yield number, {"image": image, "label": label, **others}

        folder = tmp_path_factory.mktemp(dataset_name)
        builder = Builder(data_dir=str(folder))
        config = tfds.download.DownloadConfig(num_shards=num_shards)
        builder.download_and_prepare(download_config=config)
        return builder, folder

    return prepare
