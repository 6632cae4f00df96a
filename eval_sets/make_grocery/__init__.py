"""Make the `grocery` eval set of photographs from the Grocery Store Dataset, and sets to train on.

Run `python -m eval_sets.make_grocery --help`.
"""
