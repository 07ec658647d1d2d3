"""The page about a run: from what the store holds to a document, and from that to HTML."""
