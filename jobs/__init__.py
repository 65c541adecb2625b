"""Many independent jobs on local processes or a Dask cluster, every finished one kept in one file.

Knows nothing of what the jobs do: training runs, simulations of data sets, seeds of place and route, points of a
design space.
"""
