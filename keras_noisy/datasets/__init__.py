"""Data sets by name, and the noisy labels that were published for them."""

from keras_noisy.datasets.dataset import Dataset
from keras_noisy.datasets.load import load
from keras_noisy.datasets.pipeline import (
    TrainingPipeline,
    crop_flip,
    training_pipeline,
)
from keras_noisy.datasets.read_label_file import read_label_file
from keras_noisy.datasets.streamed_dataset import StreamedDataset

__all__ = [
    "Dataset",
    "StreamedDataset",
    "TrainingPipeline",
    "crop_flip",
    "load",
    "read_label_file",
    "training_pipeline",
]
