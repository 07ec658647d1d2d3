"""Several machines that train one model together: what is decided about them, without any I/O."""
