"""The science, on arrays: column schema, networks, training, metrics and screening.

Pure functions and modules over NumPy, PyTorch and Arrow that know nothing of Prefect, Dask or any
materials library; everything above (:mod:`featurizers`, :mod:`infra`, :mod:`flows`) may import
from here, and nothing here imports from above.
"""
