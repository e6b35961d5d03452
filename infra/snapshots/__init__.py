"""Snapshots: taken of sources, judged, compared, and made into training tables."""
