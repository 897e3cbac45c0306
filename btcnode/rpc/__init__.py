"""JSON-RPC: one declaration per method, the HTTP server, and clients."""
