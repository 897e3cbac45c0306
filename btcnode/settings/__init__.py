"""Options of a node: declared once each, read from four doors, parsed here so that nothing behind handles text."""
