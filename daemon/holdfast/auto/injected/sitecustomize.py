"""Python imports this module as it starts, since ``holdfast run`` puts this folder first on PYTHONPATH.

It takes the folder off the path again, lets ``hook.py`` wait for Keras, and hands on to the ``sitecustomize`` that it
hides. Nothing is imported here that an interpreter has not loaded anyway, and any Python can read it.
"""

import os
import sys

if __name__ == "sitecustomize":  # and not only looked at
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != _here]

    _stands_by = "HOLDFAST_STANDS_BY" in os.environ
    if _stands_by and sys.version_info < (3, 7):
        os._exit(1)
    if "HOLDFAST_SOCKET" in os.environ and sys.version_info >= (3, 7):
        try:
            from _frozen_importlib_external import SourceFileLoader  # importlib.machinery would load more for it

            _hook = type(sys)("holdfast.auto.hook")  # the package itself is not imported before a fit needs it
            _hook.__file__ = os.path.join(os.path.dirname(_here), "hook.py")
            SourceFileLoader(_hook.__name__, _hook.__file__).exec_module(_hook)
            _hook.install()
        except Exception as error:
            sys.stderr.write("holdfast: error: its hook does not work in this interpreter: %r\n" % error)  # noqa: UP031
            if _stands_by:  # its script is not to begin yet
                os._exit(1)

    del sys.modules["sitecustomize"]
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401  # the hidden one, or Python's error for none
