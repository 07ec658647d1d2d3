"""From the spool to the store: the uploader, the commit, logs, artifacts, retention."""
