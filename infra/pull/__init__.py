"""Pulling databases: polite requests, complete pages, resumable units."""
