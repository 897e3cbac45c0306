"""What a person sees of a running node: log lines and the live display."""
