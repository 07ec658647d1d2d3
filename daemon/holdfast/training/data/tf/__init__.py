"""The position in a ``tf.data`` pipeline: the state of the iterator that Keras opened over it."""
