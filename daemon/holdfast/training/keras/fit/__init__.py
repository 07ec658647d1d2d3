"""One call of ``model.fit``: restored, counted, saved and stopped."""
