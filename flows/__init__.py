"""The Prefect flows and the ``irnet`` command line, which only wire the other packages together.

A Prefect task stands for a stage (pull a database, featurize a snapshot, train, screen); inside it
one Dask graph maps over partition paths. No computation lives here, and no other package imports
Prefect.
"""
