"""Screening of compositions in bounded memory: generate, filter, look up, rank."""
