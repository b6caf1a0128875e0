"""Train a small U-Net on made shapes whose masks have wrong borders.

Masks of the training images are drawn too narrow, too wide or beside the shape, as
people draw them, and a corner of each is not labelled. Two losses are compared by the
mean intersection over union on clean test masks, and images are ranked by the share of
their pixels that the mean prediction of the epochs contradicts:

    python examples/segmentation.py

takes less than a minute on a CPU.
"""

import argparse

import keras
import numpy as np

from keras_noisy import analysis, losses, noise

SIZE, CLASSES, IGNORED = 32, 3, 255


def make_shapes(count, seed):
    """Return noisy images with a disc or a square each, and their masks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((SIZE, SIZE))
    masks = np.zeros((count, SIZE, SIZE), "uint8")
    for mask in masks:
        row, column = rng.integers(9, SIZE - 9, 2)
        radius, is_disc = rng.integers(4, 9), rng.random() < 0.5
        down, right = abs(rows - row), abs(columns - column)
        distance = np.hypot(down, right) if is_disc else np.maximum(down, right)
        mask[distance <= radius] = 1 if is_disc else 2
    # Discs are bright, squares dark.
    images = np.array([0.0, 1.0, -1.0])[masks] + rng.normal(0, 0.5, masks.shape)
    return images[..., None].astype("float32"), masks


def wrong_masks(masks, seed):
    """Return masks half of which have borders two pixels away, a corner unlabelled."""
    narrow_or_wide = noise.move_borders(masks, 2, num_classes=CLASSES, seed=seed)
    beside = noise.move_borders(
        masks, 2, kind="shift", num_classes=CLASSES, seed=seed + 1
    )
    kind = np.random.default_rng(seed).integers(0, 4, len(masks))[:, None, None]
    noisy = np.choose(kind, [masks, masks, narrow_or_wide.noisy, beside.noisy])
    noisy[:, :6, :6] = IGNORED
    return noisy


def build_unet(width=8):
    """Return a U-Net of two levels with a logit for each class and pixel."""

    def block(x, filters):
        return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)

    inputs = keras.Input((SIZE, SIZE, 1))
    fine = block(inputs, width)
    middle = block(keras.layers.MaxPooling2D()(fine), 2 * width)
    coarse = block(keras.layers.MaxPooling2D()(middle), 4 * width)
    x = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), middle])
    x = block(x, 2 * width)
    x = keras.layers.Concatenate()([keras.layers.UpSampling2D()(x), fine])
    return keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1)(block(x, width)))


class MeanPrediction(keras.callbacks.Callback):
    """Averages the class probabilities of each pixel over the epochs."""

    def __init__(self, x):
        super().__init__()
        self.x, self.total, self.epochs = x, 0.0, 0

    def on_epoch_end(self, epoch, logs=None):
        """Predict all images."""
        logits = self.model.predict(self.x, verbose=0)
        self.total = self.total + keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        self.epochs += 1

    def soft_labels(self):
        """Return the mean `(n, height, width, num_classes)`."""
        return self.total / self.epochs


def mean_iou(model, x, masks):
    """Return the mean intersection over union of the classes."""
    found = model.predict(x, verbose=0).argmax(axis=-1)
    pairs = [(found == c, masks == c) for c in range(CLASSES)]
    return np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in pairs])


def main(arguments=None):
    """Train with each loss, and rank the training images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    x, clean = make_shapes(args.images, args.seed)
    x_test, clean_test = make_shapes(200, args.seed + 1)
    noisy = wrong_masks(clean, args.seed)
    settings = {"ignore_class": IGNORED, "from_logits": True}
    compared = {
        "cross-entropy": keras.losses.SparseCategoricalCrossentropy(**settings),
        # A bounded loss alone is content with background everywhere: most pixels are.
        "SymmetricCrossEntropy": losses.SymmetricCrossEntropy(
            alpha=1.0, beta=1.0, **settings
        ),
    }
    for name, loss in compared.items():
        keras.utils.set_random_seed(args.seed)
        model, mean = build_unet(), MeanPrediction(x)
        model.compile(keras.optimizers.Adam(5e-3), loss)
        model.fit(
            x, noisy, batch_size=16, epochs=args.epochs, verbose=0, callbacks=[mean]
        )
        print(f"{name}: mean IoU {mean_iou(model, x_test, clean_test):.3f}")
    parts = analysis.find_suspect_parts(
        noisy, mean.soft_labels(), missing_label=IGNORED
    )
    is_wrong = ((noisy != clean) & (noisy != IGNORED)).any(axis=(1, 2))
    first = parts.order[: int(is_wrong.sum())]
    print(
        f"{is_wrong.mean():.0%} of the masks are wrong; of the {len(first)} with the "
        f"largest share of suspect pixels {is_wrong[first].mean():.0%} are"
    )


if __name__ == "__main__":
    main()
