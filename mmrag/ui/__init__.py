"""The dashboard's pages: each file is one page: it loads, offers choices, computes and shows."""
