"""Ways to peers beyond plain TCP: SOCKS5 proxies, Tor's control port, I2P's SAM bridge."""
