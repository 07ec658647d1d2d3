"""The training process's side of a gang: several machines that train one model together."""
