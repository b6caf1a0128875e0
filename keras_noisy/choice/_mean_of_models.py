"""One model that predicts the mean of what several predict."""

import keras

from keras_noisy._data import outputs


@keras.saving.register_keras_serializable(package="keras_noisy")
class MeanOfModels(keras.Model):
    """Mean of the probabilities of classifiers with the same inputs and classes.

    Args:
        models: The classifiers.
        weights: Weight of each, which sum to one.
        from_logits: Whether their outputs are logits.
        **kwargs: Arguments of `keras.Model`.
    """

    def __init__(self, models, weights, from_logits=False, **kwargs):
        super().__init__(**kwargs)
        self.models, self.from_logits = list(models), from_logits
        self.shares = [float(weight) for weight in weights]

    def call(self, inputs, training=False):
        """Return probabilities `(batch, num_classes)`."""
        return sum(
            share
            * outputs.probabilities(model(inputs, training=training), self.from_logits)
            for model, share in zip(self.models, self.shares, strict=True)
        )

    def get_config(self):
        """Return the configurations of the models."""
        models = [keras.saving.serialize_keras_object(model) for model in self.models]
        settings = {"weights": self.shares, "from_logits": self.from_logits}
        return {**super().get_config(), "models": models, **settings}

    @classmethod
    def from_config(cls, config):
        """Return a model of the same kind, without the weights."""
        config = dict(config)
        models = [
            keras.saving.deserialize_keras_object(model)
            for model in config.pop("models")
        ]
        return cls(models, **config)
