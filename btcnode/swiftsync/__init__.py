"""SwiftSync: a sync without lookups, from hints about what stays unspent; pure parts (docs/swiftsync.md)."""
