"""Bitcoin script: interpreter, signature hashes, signatures, verification of inputs (``verify``)."""
