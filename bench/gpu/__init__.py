"""The prepared measurement of a GPU: `python -m bench.gpu`, at most seven minutes, no network.

`parts` holds the table of measurements, the cheapest and most decisive first. Each part is guarded,
and after each the result file is written whole.
"""

from bench.gpu.bare import fill_in

fill_in()
