"""Ways through a NAT: port mappings by UPnP, PCP and NAT-PMP, the external address by STUN."""
