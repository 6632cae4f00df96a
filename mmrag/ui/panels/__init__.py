"""Parts of pages: forms, lists, charts."""
