"""Everything that touches disks, networks and databases: settings, the store, the sources."""
