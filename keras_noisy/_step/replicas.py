"""Sums over all replicas, for losses that are defined on a whole batch."""

import keras


def sum_over_replicas(owner, x):
    """Return `x` summed over the replicas of a distributed training step.

    TensorFlow's strategies run the loss once per replica, and their replica context
    adds up. JAX's arrays are already those of the global batch. Processes of
    `torch.distributed` do not know of each other's gradients, so they are refused.

    Args:
        owner: Name of the loss, for errors.
        x: Tensor.
    """
    if num_replicas() > 1:
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, x)
    if keras.backend.backend() == "torch":
        import torch

        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            size = distributed.get_world_size()
            if size > 1:
                raise RuntimeError(
                    f"{owner} is defined on the whole batch, and torch.distributed "
                    f"has divided it among {size} processes. Train in one process, "
                    "or use a loss that is defined per example."
                )
    return x


def gathered(tensors):
    """Return tensors with the rows of all replicas of a distributed training step.

    Args:
        tensors: List of tensors that have one row for each example.
    """
    if num_replicas() == 1:
        return tensors
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if type(context.strategy) is not tf.distribute.MirroredStrategy:
        return context.all_gather(tensors, axis=0)

    def concatenated(strategy, *values):
        each = (strategy.experimental_local_results(value) for value in values)
        return [tf.concat(parts, axis=0) for parts in each]

    # All replicas are in this process. `all_gather` would fail for a second strategy
    # in it, such as that of a notebook's cell that is run again: TensorFlow numbers
    # collective operations from the start again, and remembers their shapes.
    return context.merge_call(concatenated, args=tensors)


def num_replicas():
    """Return how many replicas of a TensorFlow strategy run this step together."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync
