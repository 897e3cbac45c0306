"""Headers and blocks: which to ask of whom, how new ones are told, how they are put together."""
