"""The dashboard's pages: each file is one page that loads, lets choose, computes and shows."""
