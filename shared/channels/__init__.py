"""One folder per vendor, both directions of a channel in it; `contract` says what a channel is."""
