"""What Keras' backends do each in its own way: a protocol, and a module for each backend that is served."""
