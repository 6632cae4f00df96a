"""Draw the `catalogue` eval set: product pictures, labelled queries and judgments.

Run `python -m eval_sets.make_catalogue --help`.
"""
